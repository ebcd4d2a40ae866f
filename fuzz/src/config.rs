//! Configurations.

use cedarwall::core::config::{Config, Mode};
use cedarwall::core::problem::Problem;
use cedarwall::core::roster::Roster;
use cedarwall::nft::ruleset::{self, Identity};

/// Longer ones only take longer.
const LONGEST: usize = 16 << 10;

/// Whatever somebody configures: it is refused with a reason, or it makes sense
/// and nothing of it can be taken for a rule of the ruleset.
pub fn examine(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.len() > LONGEST {
        return;
    }
    let config = match Config::parse("cedarwall.toml", text) {
        Ok(config) => config,
        Err(problems) => {
            assert!(problems.iter().any(Problem::is_error), "refused without a reason");
            return;
        }
    };
    assert!(config.dns.listen.iter().all(|address| !address.ip().is_unspecified() && address.port() != 0));
    assert!(!config.dns.upstream.is_empty() && !config.clients.is_empty());
    assert!(config.lease.min <= config.lease.max);
    let (Mode::Gateway { interfaces } | Mode::Sidecar { interfaces }) = &config.wall.mode;
    let words = interfaces.iter().map(|interface| interface.as_str()).chain([config.wall.table.as_str()]);
    for word in words {
        assert!(!word.is_empty() && word.bytes().all(|octet| octet.is_ascii_graphic()), "{word:?}");
        assert!(!word.contains(['"', '\\', ';', '{', '}', '#', '$']), "{word:?} could be a rule");
    }
    let rules = ruleset::render(&config, &Identity { uid: 0, cgroup: None }, &Roster::default());
    assert_eq!(rules.matches('{').count(), rules.matches('}').count());
    assert_eq!(rules.matches('"').count() % 2, 0);
}
