//! Texts that many events have in common, such as names of topics.

use std::sync::Arc;

/// Such texts are few; more different ones than this are not looked for.
const MOST: usize = 64;

/// Keeps each text once.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<Arc<str>>);

impl Texts {
    /// The text, without a copy where it was there before.
    pub(crate) fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        if self.0.len() < MOST {
            self.0.push(Arc::clone(&text));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_there_is_an_end_to_them() {
        let mut texts = Texts::default();
        let (one, other) = (texts.keep("orders"), texts.keep("orders"));
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..2 * MOST {
            assert_eq!(&*texts.keep(&number.to_string()), number.to_string());
        }
        assert_eq!(texts.0.len(), MOST);
    }
}
