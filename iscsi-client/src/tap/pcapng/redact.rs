//! Overwriting the values of secret text keys.

/// A challenge without its response is useless to a guesser; names and challenges may stay.
const SECRET: &[u8] = b"CHAP_R";

/// What a secret byte becomes.
const COVER: u8 = b'X';

/// Longer than any name of a key that matters here; the end of longer ones is not remembered.
const REMEMBERED: usize = 16;

/// Follows `key=value` pairs with NUL between them (RFC 7143 section 6.1) through one direction of a
/// login, over as many PDUs and reads as they take.
#[derive(Debug)]
pub(super) struct Redactor {
    name: [u8; REMEMBERED],
    /// Length of the name so far, at most one more than can be remembered.
    len: usize,
    in_value: bool,
    is_secret: bool,
}

impl Redactor {
    /// At the beginning of a text.
    pub(super) const fn new() -> Self {
        Self {
            name: [0; REMEMBERED],
            len: 0,
            in_value: false,
            is_secret: false,
        }
    }

    /// The next text begins with a name.
    pub(super) const fn restart(&mut self) {
        *self = Self::new();
    }

    /// Overwrites what is secret in the next bytes of the text.
    pub(super) fn apply(&mut self, text: &mut [u8]) {
        for byte in text {
            match *byte {
                0 => self.restart(),
                b'=' if !self.in_value => {
                    self.in_value = true;
                    self.is_secret = self.name.get(..self.len) == Some(SECRET);
                }
                _ if self.in_value => {
                    if self.is_secret {
                        *byte = COVER;
                    }
                }
                other => {
                    if let Some(place) = self.name.get_mut(self.len) {
                        *place = other;
                    }
                    self.len = (self.len + 1).min(REMEMBERED + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_overwritten_wherever_the_text_is_cut() {
        let text = b"CHAP_N=me\0CHAP_R=0x12=4\0CHAP_RX=1\0A-VERY-LONG-NAME-CHAP_R=2\0CHAP_R=3";
        let expected = b"CHAP_N=me\0CHAP_R=XXXXXX\0CHAP_RX=1\0A-VERY-LONG-NAME-CHAP_R=2\0CHAP_R=X";
        for cut in 1..=text.len() {
            let mut redactor = Redactor::new();
            let mut text = *text;
            for piece in text.chunks_mut(cut) {
                redactor.apply(piece);
            }
            assert_eq!(&text, expected, "{cut}");
        }
    }
}
