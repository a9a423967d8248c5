//! Checking what was read.

use std::{fs::File, io, path::Path};

use iscsi_testkit::pattern;

use crate::failure::Failure;

/// What the bytes of a device should be.
#[derive(Debug)]
pub enum Expected {
    /// Nobody knows.
    Unknown,
    /// The content of the test target's LUN with this seed.
    Pattern(u64),
    /// A local image of the device.
    Image {
        /// The image.
        file: File,
        /// Memory to read it into.
        scratch: Vec<u8>,
    },
}

impl Expected {
    /// The content of `path`, from its beginning.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn image(path: &Path) -> Result<Self, Failure> {
        let path_text = path.display();
        let file = File::open(path).map_err(|error| {
            Failure::new(format_args!(
                "cannot open {path_text}: {error}; check --verify-file"
            ))
        })?;
        Ok(Self::Image {
            file,
            scratch: Vec::new(),
        })
    }

    /// Whether anything is compared at all.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// Compares `data`, read at byte `offset` of the device.
    ///
    /// # Errors
    ///
    /// Where the first difference is, or that the image cannot be read there.
    pub fn check(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let difference = match self {
            Self::Unknown => None,
            Self::Pattern(seed) => pattern::verify(*seed, offset, data).err(),
            Self::Image { file, scratch } => {
                scratch.resize(data.len(), 0);
                read_exact_at(file, scratch, offset).map_err(|error| {
                    Failure::new(format_args!(
                        "cannot read {} bytes of the --verify-file at {offset}: {error}; \
                         give a file that covers what is read",
                        data.len()
                    ))
                })?;
                first_difference(scratch, data).map(|at| offset + at as u64)
            }
        };
        difference.map_or(Ok(()), |at| {
            Err(Failure::new(format_args!(
                "wrong data at byte {at} of the device: do not trust this storage or path, and \
                 turn on --data-digest crc32c to tell the network from the disk"
            )))
        })
    }
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    a.iter().zip(b).position(|(a, b)| a != b)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found_where_it_is() {
        let mut data = vec![0; 4096];
        pattern::fill(3, 8192, &mut data);
        let mut expected = Expected::Pattern(3);
        assert_eq!(expected.check(8192, &data), Ok(()));
        data[1000] ^= 0x10;
        let found = expected.check(8192, &data).unwrap_err().to_string();
        assert!(found.contains("byte 9192 "), "{found}");
    }

    #[test]
    fn an_image_is_compared_at_the_same_offset() {
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let content = std::fs::read(manifest).unwrap();
        let mut expected = Expected::image(manifest).unwrap();
        assert_eq!(expected.check(5, &content[5..50]), Ok(()));
        assert!(expected.check(6, &content[5..50]).is_err());
        assert!(expected.check(content.len() as u64, &[0]).is_err());
        assert!(Expected::image(Path::new("/nonexistent/file")).is_err());
    }
}
