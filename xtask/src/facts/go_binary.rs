//! Reads struct types out of a Go program: their fields, types and tags, as the program's own type information has them.
//!
//! Knows the layout of `internal/abi` of Go 1.20 and later in a 64-bit ELF file that is not position-independent, which
//! is how kubectl is built for Linux. Names need not be in the symbol table.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

/// A field as Go declares it.
#[derive(Clone, Debug)]
pub struct GoStructField {
    /// The whole tag: `json:"spec,omitempty" protobuf:...`.
    pub tag: String,
    /// Go's text of the type: `*v1.DaemonSetSpec`.
    pub ty: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Struct,
    Pointer,
    Slice,
    Map,
    /// Strings, numbers and booleans, with Go's name of the basic type.
    Basic(&'static str),
    Other,
}

/// All structs reachable from the program's list of types, by `package path` and name.
pub fn structs(program: &[u8]) -> Result<BTreeMap<(String, String), Vec<GoStructField>>> {
    let program = Program::read(program)?;
    let mut found = BTreeMap::new();
    let mut open: Vec<u64> = program.type_list()?;
    let mut seen = BTreeSet::new();
    while let Some(address) = open.pop() {
        if !seen.insert(address) {
            continue;
        }
        // The list also names types without any information; they are of no use here.
        let Some(ty) = program.type_at(address) else { continue };
        open.extend(ty.parts(&program));
        if ty.kind == Kind::Struct
            && let (Some(package), Some(fields)) = (ty.package(&program), ty.fields(&program))
        {
            open.extend(fields.iter().map(|(_, address)| *address));
            found.insert((package, ty.name.clone()), fields.into_iter().map(|(field, _)| field).collect());
        }
    }
    Ok(found)
}

struct Section {
    address: u64,
    offset: usize,
    length: usize,
}

struct Program<'a> {
    bytes: &'a [u8],
    sections: BTreeMap<String, Section>,
}

/// A type with the place where its information begins.
struct GoType {
    at: u64,
    kind: Kind,
    name: String,
    has_extra: bool,
}

/// Length of the part that all types have.
const COMMON: u64 = 48;

impl<'a> Program<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
        let short = |at: usize| bytes.get(at..at + 2).map(|two| u64::from(u16::from_le_bytes([two[0], two[1]])));
        let table = usize::try_from(long(bytes, 0x28).context("no section table")?)?;
        let (count, names) = (short(0x3c).context("no sections")?, short(0x3e).context("no section names")?);
        let header = |index: u64| -> Result<(u64, Section)> {
            let at = table + usize::try_from(index)? * 64;
            let word = |offset| long(bytes, at + offset).context("the section table is cut off");
            let section = Section {
                address: word(16)?,
                offset: usize::try_from(word(24)?)?,
                length: usize::try_from(word(32)?)?,
            };
            // The low half is the name's place among the names, the high half the kind of section.
            let kind_and_name = word(0)?;
            let without_bytes = kind_and_name >> 32 == 8;
            Ok((kind_and_name & 0xffff_ffff, if without_bytes { Section { length: 0, ..section } } else { section }))
        };
        let (_, names) = header(names)?;
        let mut sections = BTreeMap::new();
        for index in 0..count {
            let (name, section) = header(index)?;
            let start = names.offset + usize::try_from(name)?;
            let name = bytes.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default();
            sections.insert(String::from_utf8_lossy(name).into_owned(), section);
        }
        Ok(Self { bytes, sections })
    }

    /// Addresses of the types that the program lists.
    fn type_list(&self) -> Result<Vec<u64>> {
        let list = self.sections.get(".typelink").context("no .typelink: is this a Go program?")?;
        let base = self.types_start().context("no .rodata")?;
        let words = self.bytes.get(list.offset..list.offset + list.length).context("the type list is cut off")?;
        Ok(words
            .chunks_exact(4)
            .map(|word| base + u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])))
            .collect())
    }

    fn types_start(&self) -> Option<u64> {
        self.sections.get(".rodata").map(|section| section.address)
    }

    fn offset(&self, address: u64) -> Option<usize> {
        let section = self.sections.values().find(|section| {
            section.address != 0 && address.checked_sub(section.address).is_some_and(|at| at < section.length as u64)
        })?;
        Some(section.offset + usize::try_from(address - section.address).ok()?)
    }

    fn long(&self, address: u64) -> Option<u64> {
        long(self.bytes, self.offset(address)?)
    }

    fn int(&self, address: u64) -> Option<u64> {
        self.long(address).map(|both| both & 0xffff_ffff)
    }

    fn byte(&self, address: u64) -> Option<u8> {
        self.bytes.get(self.offset(address)?).copied()
    }

    /// A name and, for fields, its tag: flags, length, text, and again length and text.
    fn name(&self, address: u64) -> Option<(String, String)> {
        const HAS_TAG: u8 = 2;
        let at = self.offset(address)?;
        let (name, end) = self.counted(at + 1)?;
        let tag = if self.bytes[at] & HAS_TAG == 0 { String::new() } else { self.counted(end)?.0 };
        Some((name, tag))
    }

    fn counted(&self, mut at: usize) -> Option<(String, usize)> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = *self.bytes.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let text = self.bytes.get(at..at + length)?;
        Some((String::from_utf8_lossy(text).into_owned(), at + length))
    }

    fn type_at(&self, address: u64) -> Option<GoType> {
        const HAS_EXTRA: u8 = 1;
        const NAME_HAS_STAR: u8 = 2;
        let flags = self.byte(address + 20)?;
        let kind = kind(self.byte(address + 23)?);
        let (mut name, _) = self.name(self.types_start()? + self.int(address + 40)?)?;
        if flags & NAME_HAS_STAR != 0 {
            name.remove(0);
        }
        Some(GoType { at: address, kind, name, has_extra: flags & HAS_EXTRA != 0 })
    }
}

impl GoType {
    /// What a pointer, list or map is made of.
    fn parts(&self, program: &Program<'_>) -> Vec<u64> {
        let parts = match self.kind {
            Kind::Pointer | Kind::Slice => vec![program.long(self.at + COMMON)],
            Kind::Map => vec![program.long(self.at + COMMON), program.long(self.at + COMMON + 8)],
            _ => Vec::new(),
        };
        parts.into_iter().flatten().collect()
    }

    /// The package path of a named struct: behind the struct's own part.
    fn package(&self, program: &Program<'_>) -> Option<String> {
        const STRUCT: u64 = 32;
        if !self.has_extra {
            return None;
        }
        let name = program.int(self.at + COMMON + STRUCT)?;
        program.name(program.types_start()? + name).map(|(path, _)| path)
    }

    /// The fields with the addresses of their types.
    fn fields(&self, program: &Program<'_>) -> Option<Vec<(GoStructField, u64)>> {
        const FIELD: u64 = 24;
        let (start, count) = (program.long(self.at + COMMON + 8)?, program.long(self.at + COMMON + 16)?);
        let field = |index: u64| {
            let at = start + index * FIELD;
            let (_, tag) = program.name(program.long(at)?)?;
            let address = program.long(at + 8)?;
            let ty = program.type_at(address)?;
            Some((GoStructField { tag, ty: ty.name, kind: ty.kind }, address))
        };
        (0..count).map(field).collect()
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(eight))
}

fn kind(number: u8) -> Kind {
    match number & 31 {
        1 => Kind::Basic("bool"),
        5 => Kind::Basic("int32"),
        6 => Kind::Basic("int64"),
        8 => Kind::Basic("uint8"),
        14 => Kind::Basic("float64"),
        21 => Kind::Map,
        22 => Kind::Pointer,
        23 => Kind::Slice,
        24 => Kind::Basic("string"),
        25 => Kind::Struct,
        _ => Kind::Other,
    }
}
