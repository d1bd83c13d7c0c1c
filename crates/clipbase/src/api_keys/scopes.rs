//! What a key may do: a small set of words, and how it stands in the seed's column.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::{Code, Error, Result};

/// One thing that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Read jobs, their logs and their results.
    JobsRead = 1,
    /// Create, change, cancel, retry and delete jobs. It does not include reading.
    JobsWrite = 2,
    /// Everything, keys included.
    Admin = 4,
}

impl Scope {
    /// Every scope, the weakest first.
    pub const ALL: [Self; 3] = [Self::JobsRead, Self::JobsWrite, Self::Admin];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| Error::invalid("scopes", "must be of jobs:read, jobs:write, admin"))
    }
}

/// A set of scopes. Its text is the words with a space between them.
///
/// ```
/// use clipbase::api_keys::{Scope, Scopes};
/// let scopes: Scopes = "jobs:write, jobs:read".parse()?;
/// assert_eq!(scopes.to_string(), "jobs:read jobs:write");
/// assert!(scopes.allows(Scope::JobsRead) && !scopes.allows(Scope::Admin));
/// # Ok::<(), clipbase::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope: it allows nothing.
    pub const NONE: Self = Self(0);

    /// Tells whether this allows what needs the scope; [`Scope::Admin`] allows everything.
    pub const fn allows(self, scope: Scope) -> bool {
        self.contains(Scope::Admin) || self.contains(scope)
    }

    /// Tells whether the scope itself is in the set.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// Tells whether the set allows nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lists the scopes in the set, the weakest first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }

    /// Fails where this does not allow what needs the scope.
    ///
    /// # Errors
    /// `FORBIDDEN`; the message names the scope.
    pub fn require(self, scope: Scope) -> Result<()> {
        if self.allows(scope) {
            return Ok(());
        }
        let message = format!("this needs an API key with the scope {scope}");
        Err(Error::failed(Code::Forbidden, message))
    }

    /// Reads a column, in which words that this version does not know grant nothing.
    pub(super) fn read(text: &str) -> Self {
        words(text).filter_map(|word| word.parse().ok()).collect()
    }
}

/// The words of a list: spaces and commas stand between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\t', '\n', '\r'])
        .filter(|word| !word.is_empty())
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope as u8)
    }
}

impl FromStr for Scopes {
    type Err = Error;

    /// Reads a list with spaces or commas between the words; an unknown word is refused.
    fn from_str(text: &str) -> Result<Self> {
        words(text).map(str::parse::<Scope>).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, scope) in self.iter().enumerate() {
            if number > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl Serialize for Scopes {
    /// A list of words.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_sets() -> impl Iterator<Item = Scopes> {
        (0..8).map(Scopes)
    }

    #[test]
    fn a_set_reads_back_from_its_text() {
        for set in all_sets() {
            let text = set.to_string();
            assert_eq!(text.parse::<Scopes>().unwrap(), set);
            assert_eq!(Scopes::read(&text), set);
            assert_eq!(Scopes::read(&text.replace(' ', ",")), set);
            assert_eq!(set.iter().collect::<Scopes>(), set);
            assert!(text.len() <= 256, "the column holds it");
        }
    }

    #[test]
    fn an_unknown_word_is_refused_by_callers_and_grants_nothing_in_a_column() {
        for text in [
            "jobs",
            "jobs:*",
            "*",
            "ADMIN",
            "jobs:read;admin",
            "admin\u{a0}",
        ] {
            let error = text.parse::<Scopes>().unwrap_err();
            assert_eq!(error.code(), Code::InvalidInput);
            assert!(error.to_string().starts_with("scopes"), "{error}");
            assert_eq!(Scopes::read(text), Scopes::NONE, "{text}");
        }
        let mixed = Scopes::read(" root,jobs:read\tjobs:fly ,");
        assert_eq!(mixed, Scopes::from(Scope::JobsRead));
    }

    #[test]
    fn only_admin_includes_another_scope() {
        for holds in Scope::ALL {
            for needs in Scope::ALL {
                let allows = holds == needs || holds == Scope::Admin;
                assert_eq!(Scopes::from(holds).allows(needs), allows);
                assert_eq!(Scopes::from(holds).require(needs).is_ok(), allows);
            }
            assert!(!Scopes::NONE.allows(holds));
        }
        let error = Scopes::NONE.require(Scope::JobsWrite).unwrap_err();
        assert_eq!(error.code(), Code::Forbidden);
        assert!(error.to_string().contains("jobs:write"), "{error}");
    }

    #[test]
    fn on_the_wire_a_set_is_a_list() {
        let set = Scopes(3);
        assert_eq!(
            serde_json::to_string(&set).unwrap(),
            r#"["jobs:read","jobs:write"]"#
        );
    }
}
