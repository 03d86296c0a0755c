//! Writes good inputs of every target to `corpus/<target>`, beside what is kept of earlier runs.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in larder::fuzzing::TARGETS {
        let corpus = fuzz.join("corpus").join(target.name);
        std::fs::create_dir_all(&corpus)?;
        for (at, seed) in larder::fuzzing::seeds(target.name).iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{at}")), seed)?;
        }
        let kept = fuzz.join("../tests/corpus").join(target.name);
        for file in std::fs::read_dir(kept).into_iter().flatten() {
            let file = file?;
            std::fs::copy(file.path(), corpus.join(file.file_name()))?;
        }
    }
    Ok(())
}
