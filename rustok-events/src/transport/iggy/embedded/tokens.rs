//! Personal access tokens: other ways to log in as the one user.

use std::{collections::BTreeMap, fmt};

use iggy::prelude::IggyError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The one user's number.
pub(super) const USER: u32 = 0;
/// How many there are at most, as at a real server.
const MAX_TOKENS: u32 = 100;
/// How many random bytes a token has.
const BYTES: usize = 32;

/// A token as it is kept: not the token, which nobody can read back, but its digest. A token is random throughout, so
/// that a fast digest is as safe as a slow one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TokenRow {
    pub(super) name: String,
    digest: [u8; 32],
    /// In microseconds since 1970; `None` for one that never expires.
    pub(super) expires_at: Option<u64>,
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All tokens, by name.
#[derive(Debug, Default)]
pub(super) struct Tokens(pub(super) BTreeMap<String, TokenRow>);

impl Tokens {
    /// A new token: its row, and itself, which is told once. Not yet among the others.
    pub(super) fn make(
        &self,
        name: &str,
        expires_at: Option<u64>,
    ) -> Result<(TokenRow, String), IggyError> {
        if self.0.contains_key(name) {
            return Err(IggyError::PersonalAccessTokenAlreadyExists(name.to_owned(), USER));
        }
        if self.0.len() >= MAX_TOKENS as usize {
            return Err(IggyError::PersonalAccessTokensLimitReached(USER, MAX_TOKENS));
        }
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            tracing::error!(%error, "the system gives no random bytes");
            IggyError::Error
        })?;
        let (first, second) = bytes.split_at(BYTES / 2);
        let half =
            |half: &[u8]| half.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        let token = format!("{:032x}{:032x}", half(first), half(second));
        let row = TokenRow { name: name.to_owned(), digest: digest(&token), expires_at };
        Ok((row, token))
    }

    /// Whether the token lets in now.
    pub(super) fn check(&self, token: &str, now: u64) -> Result<(), IggyError> {
        // Digests are compared, so that the time it takes tells nothing of a token.
        let digest = digest(token);
        let row = self.0.values().find(|row| row.digest == digest);
        let row = row.ok_or(IggyError::InvalidPersonalAccessToken)?;
        if row.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(IggyError::PersonalAccessTokenExpired(row.name.clone(), USER));
        }
        Ok(())
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lets_in_until_it_expires_and_is_not_kept() {
        let mut tokens = Tokens::default();
        let (row, token) = tokens.make("ci", Some(100)).unwrap();
        let kept = serde_json::to_string(&row).unwrap();
        assert!(!kept.contains(&token) && !format!("{row:?}").contains(&token));
        tokens.0.insert(row.name.clone(), row);
        assert!(tokens.check(&token, 99).is_ok());
        assert!(matches!(
            tokens.check(&token, 100),
            Err(IggyError::PersonalAccessTokenExpired(name, _)) if name == "ci"
        ));
        assert!(matches!(
            tokens.check(&token[1..], 99),
            Err(IggyError::InvalidPersonalAccessToken)
        ));
        assert!(matches!(
            tokens.make("ci", None),
            Err(IggyError::PersonalAccessTokenAlreadyExists(..))
        ));
    }

    #[test]
    fn there_are_a_hundred_at_most_and_each_is_another() {
        let mut tokens = Tokens::default();
        let mut known = std::collections::HashSet::new();
        for number in 0..MAX_TOKENS {
            let (row, token) = tokens.make(&number.to_string(), None).unwrap();
            tokens.0.insert(row.name.clone(), row);
            assert!(known.insert(token));
        }
        let refused = tokens.make("one more", None);
        assert!(matches!(refused, Err(IggyError::PersonalAccessTokensLimitReached(..))));
    }
}
