//! Names that resolvers make of others: with `search corp.example.com` in
//! resolv.conf(5), a question for `api` or, by `ndots`, `api.example.com` is
//! tried as `api.example.com.corp.example.com`, too. Nobody meant that name.

use super::decision::{Denial, Reason};
use super::name::Name;

/// Whether one of the search `suffixes` explains that somebody asked for
/// `name`, which was denied: then it is no alarm. What a cap or a guard denies
/// always is one.
pub fn explains(suffixes: &[Name], name: &str, denial: &Denial) -> bool {
    matches!(denial.reason, Reason::NotPermitted | Reason::Forbidden)
        && suffixes.iter().any(|suffix| is_within(name, suffix.as_str()))
}

fn is_within(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_explained(name: &str, reason: Reason) -> bool {
        let suffixes = ["corp.example.com", "internal"].map(|suffix| Name::parse(suffix).unwrap());
        explains(&suffixes, name, &Denial::by_default(reason))
    }

    #[test]
    fn a_suffix_covers_itself_and_what_is_below_it_on_label_boundaries() {
        for name in ["corp.example.com", "api.example.com.corp.example.com", "internal", "api.internal"] {
            assert!(is_explained(name, Reason::NotPermitted) && is_explained(name, Reason::Forbidden), "{name}");
        }
        for name in ["example.com", "notcorp.example.com", "corp.example.com.evil.example", "xinternal", "internal.com"]
        {
            assert!(!is_explained(name, Reason::NotPermitted), "{name}");
        }
        assert!(!explains(&[], "api.internal", &Denial::by_default(Reason::NotPermitted)));
    }

    #[test]
    fn what_no_policy_denied_stays_an_alarm() {
        let quiet = Reason::ALL.into_iter().filter(|reason| is_explained("api.internal", *reason));
        assert_eq!(quiet.collect::<Vec<_>>(), [Reason::NotPermitted, Reason::Forbidden]);
    }
}
