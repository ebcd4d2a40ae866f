//! No text makes the policy's loading panic.

use proptest::prelude::*;

use super::{STORY, loaded};
use crate::core::config::CatchAllForbid;
use crate::core::policy::{Policy, Sources};
use crate::core::problem::Problem;

proptest! {
    #[test]
    fn hostile_text_is_refused_or_loaded_and_never_panics(
        text in "\\PC{0,200}",
        entities in proptest::option::of("\\PC{0,80}"),
        links in proptest::option::of("\\PC{0,80}"),
    ) {
        let sources = Sources {
            policies: vec![("p".to_owned(), text)],
            entities: entities.map(|text| ("e".to_owned(), text)),
            links: links.map(|text| ("l".to_owned(), text)),
        };
        if let Err(problems) = Policy::load(&sources, CatchAllForbid::DefaultDeny) {
            prop_assert!(problems.iter().any(Problem::is_error));
        }
    }

    #[test]
    fn a_mangled_policy_is_refused_or_loaded_and_never_panics(
        at in 0..STORY.len(), length in 0..20usize, instead in "[ -~\\n]{0,6}"
    ) {
        let mut text = STORY.to_owned();
        text.replace_range(at..(at + length).min(STORY.len()), &instead);
        let _ = loaded(&text, CatchAllForbid::Strict);
    }
}
