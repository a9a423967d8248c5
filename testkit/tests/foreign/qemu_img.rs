//! qemu-img copies whole images to the target and back.

use std::{
    fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use iscsi_testkit::sim::Rng;

use crate::{
    support::{SIZE, config, judge, read, serve, url},
    tool::Tool,
};

/// A file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("iscsi-foreign-{}-{number}.raw", process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not every test comes as far as to write it.
        let _absent = fs::remove_file(&self.0);
    }
}

/// An image that is random but for its middle, which is zeros.
fn image(len: usize, seed: u64) -> (Scratch, Vec<u8>) {
    let mut bytes = vec![0; len];
    let mut rng = Rng::new(seed);
    rng.fill(&mut bytes[..len / 4]);
    rng.fill(&mut bytes[len / 4 * 3..]);
    let file = Scratch::new();
    fs::write(&file.0, &bytes).unwrap();
    (file, bytes)
}

#[test]
fn info_shows_the_size_of_the_lun() {
    let Some(img) = Tool::qemu("qemu-img") else {
        return;
    };
    let target = serve(config());
    for (lun, size) in [(0, SIZE[0]), (1, SIZE[1])] {
        let said = img.ok(&["info", "--output=json", &url(&target, lun)]);
        let line = format!("\"virtual-size\": {size},");
        assert!(said.lines().any(|other| other.trim() == line), "{said}");
    }
    judge(&target);
}

fn an_image_goes_there_and_comes_back(lun: u16) {
    let Some(img) = Tool::qemu("qemu-img") else {
        return;
    };
    let target = serve(config());
    let url = url(&target, lun);
    let (file, bytes) = image(SIZE[usize::from(lun)] as usize, u64::from(lun));
    let before = img.run(&["compare", "-f", "raw", "-F", "raw", file.path(), &url]);
    assert_eq!(before.status.code(), Some(1), "they differ before the copy");

    img.ok(&["convert", "-n", "-f", "raw", "-O", "raw", file.path(), &url]);
    let said = img.ok(&["compare", "-f", "raw", "-F", "raw", file.path(), &url]);
    assert_eq!(said.trim(), "Images are identical.");
    let back = Scratch::new();
    img.ok(&["convert", "-f", "raw", "-O", "raw", &url, back.path()]);
    assert!(
        fs::read(&back.0).unwrap() == bytes,
        "what comes back differs"
    );
    assert!(
        read(&target, None, lun, 0, bytes.len()) == bytes,
        "our client reads otherwise"
    );
    let mut medium = vec![0; bytes.len()];
    target.core().peek(lun, 0, &mut medium);
    assert!(medium == bytes, "the medium differs");
    judge(&target);
}

#[test]
fn an_image_goes_to_a_thin_lun_and_comes_back() {
    an_image_goes_there_and_comes_back(0);
}

#[test]
fn an_image_goes_to_a_lun_with_blocks_of_4096_and_comes_back() {
    an_image_goes_there_and_comes_back(1);
}
