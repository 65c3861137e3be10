//! `cargo xtask protos`: writes all generated code anew.

use backstay_protos::{ALL, generate, workspace};

fn main() -> anyhow::Result<()> {
    for target in &ALL {
        let text = generate(target)?;
        let file = workspace().join(target.file);
        std::fs::create_dir_all(file.parent().unwrap_or(&file))?;
        std::fs::write(&file, text)?;
        println!("{}", target.file);
    }
    Ok(())
}
