//! `resource.Quantity`: parsing, canonical text, comparison.
