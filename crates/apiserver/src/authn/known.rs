//! Tokens that have been read, so that a client's next request need not be: checking a signature takes longer than most
//! requests. What can end a token, its time and the objects that it names, is looked at each time all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstay_store::Revision;

use crate::UserInfo;
use crate::tokens::Claims;

/// Tokens of one generation. Twice as many are kept at most, of 2 KB each: one for each pod that talks to the server on
/// a large cluster. Whoever is forgotten is read again.
const GENERATION_MAX: usize = 2_048;

/// A token that this server has signed.
#[derive(Debug)]
pub struct Token {
    pub claims: Claims,
    /// The bearer.
    pub user: Arc<UserInfo>,
    /// Objects that kept it alive when they were last looked at, by resource.
    alive: Mutex<Vec<(&'static str, Revision)>>,
}

impl Token {
    pub fn new(claims: Claims) -> Self {
        Self { user: Arc::new(claims.user()), claims, alive: Mutex::default() }
    }

    /// Whether this state of what it names has kept it alive before.
    pub fn is_kept_by(&self, resource: &str, revision: Revision) -> bool {
        self.alive().iter().any(|(known, at)| *known == resource && *at == revision)
    }

    /// Remembers that this state of what it names keeps it alive, whatever the time.
    pub fn kept_by(&self, resource: &'static str, revision: Revision) {
        let mut alive = self.alive();
        alive.retain(|(known, _)| *known != resource);
        alive.push((resource, revision));
    }

    fn alive(&self) -> MutexGuard<'_, Vec<(&'static str, Revision)>> {
        // Whole after every step.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two generations: whoever has come since the younger one began, and whoever came in the one before.
#[derive(Default)]
pub struct Known(Mutex<[Generation; 2]>);

/// By their last letters, which are the end of a signature: a token is too long to be hashed for every request.
type Generation = HashMap<Box<str>, (Box<str>, Arc<Token>)>;

impl Known {
    /// The token as it was read before, else as it is read now.
    ///
    /// # Errors
    /// Those of `read`; they are not remembered.
    pub fn get<E>(&self, text: &str, read: impl FnOnce() -> Result<Token, E>) -> Result<Arc<Token>, E> {
        let tail = tail(text);
        let is_it = |(known, token): &(Box<str>, Arc<Token>)| (**known == *text).then(|| token.clone());
        if let Some(token) = self.generations()[0].get(tail).and_then(is_it) {
            return Ok(token);
        }
        let before = self.generations()[1].remove(tail).as_ref().and_then(is_it);
        let token = match before {
            Some(token) => token,
            None => Arc::new(read()?),
        };
        let mut generations = self.generations();
        if generations[0].len() >= GENERATION_MAX {
            generations[1] = std::mem::take(&mut generations[0]);
        }
        generations[0].insert(tail.into(), (text.into(), token.clone()));
        Ok(token)
    }

    fn generations(&self) -> MutexGuard<'_, [Generation; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tail(text: &str) -> &str {
    const LENGTH: usize = 32;
    text.len().checked_sub(LENGTH).and_then(|at| text.get(at..)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Binding;

    fn token(id: String) -> Token {
        Token::new(Claims::new(Binding::default(), vec![], 600, id, jiff::Timestamp::UNIX_EPOCH))
    }

    /// Shows these tokens one after the other; how many of them had to be read?
    fn check(shown: impl Iterator<Item = usize>, expected: usize) {
        let (known, mut reads) = (Known::default(), 0);
        for number in shown {
            let id = number.to_string();
            let token = known.get(&id, || {
                reads += 1;
                Ok::<_, ()>(token(id.clone()))
            });
            assert_eq!(token.map(|token| token.claims.jti.clone()), Ok(id));
        }
        assert_eq!(reads, expected);
        assert!(known.generations().iter().all(|generation| generation.len() <= GENERATION_MAX));
    }

    #[test]
    fn who_is_seen_often_is_read_once() {
        check([1, 1, 2, 1, 2].into_iter(), 2);
        // One who comes again and again, among as many others as one likes.
        check((1..20_000).flat_map(|other| [0, other]), 20_000);
        // Whoever has not come for long.
        check((0..10_000).chain([0]), 10_001);
    }

    /// Whoever changes a token keeps its end.
    #[test]
    fn the_whole_token_counts() {
        let known = Known::default();
        let end = "e".repeat(40);
        let mut reads = 0;
        for text in ["a", "a", "b", "a"] {
            let got = known.get(&format!("{text}{end}"), || {
                reads += 1;
                Ok::<_, ()>(token(text.into()))
            });
            assert_eq!(got.map(|got| got.claims.jti.clone()), Ok(text.to_string()));
        }
        assert_eq!(reads, 3);
    }

    #[test]
    fn refusals_are_not_remembered() {
        let known = Known::default();
        let refused = |why| known.get("text", || Err(why)).map(drop);
        assert_eq!((refused("a"), refused("b")), (Err("a"), Err("b")));
    }

    #[test]
    fn another_state_has_to_be_looked_at() {
        let token = token(String::new());
        let is = |resource, revision| token.is_kept_by(resource, revision);
        token.kept_by("pods", 7);
        token.kept_by("serviceaccounts", 3);
        assert!(is("pods", 7) && is("serviceaccounts", 3) && !is("pods", 3) && !is("secrets", 7));
        token.kept_by("pods", 9);
        assert!(is("pods", 9) && !is("pods", 7) && is("serviceaccounts", 3));
    }
}
