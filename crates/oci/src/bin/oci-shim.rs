//! The shim alone, for the tests of this crate. The product's binary has it as a hidden subcommand.

fn main() {
    std::process::exit(backstay_oci::shim_main(std::env::args_os().skip(1)));
}
