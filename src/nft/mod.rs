//! The edge to the kernel: the static ruleset, the firewall that owns the
//! ledger, and what can be read back.
//!
//! Rules never change while the wall stands; they are text, loaded once
//! through `nft` in one transaction ([`ruleset`], [`install`]). Leases change
//! all the time; they go over netlink ([`element`], [`transaction`]) from the
//! one thread that owns the ledger ([`firewall`]). What others do to the
//! ruleset is heard of ([`watch`]) and undone. What the rules refuse is heard of
//! as well ([`nflog`]), and what they have counted is read ([`counts`]).

pub mod adopt;
mod attributes;
mod carried;
mod clock;
mod compared;
pub mod conntrack;
pub mod counts;
pub mod element;
pub mod firewall;
pub mod inspect;
pub mod install;
pub mod listing;
mod lookout;
pub mod members;
pub mod memory;
pub mod nflog;
mod place;
pub mod protect;
mod reading;
pub mod ruleset;
mod source;
pub mod transaction;
pub mod watch;

use nftables::helper::NftablesError;
use thiserror::Error;

/// What can go wrong between the daemon and nftables.
#[derive(Debug, Error)]
pub enum Error {
    /// `nft` is missing or said no.
    #[error("{}", advice(.0))]
    Nft(#[from] NftablesError),
    /// A listing is not what `nft` writes.
    #[error("the listing of nft cannot be read: {0}")]
    Listing(String),
    /// The kernel does not hold what was loaded.
    #[error("table {table} is not as it was loaded: {difference}")]
    NotAsLoaded {
        /// The table, with its family.
        table: String,
        /// In what it differs.
        difference: String,
    },
    /// The kernel does not take what the policy opens or closes.
    #[error("the kernel does not hold what the policy says, and nobody gets an answer until it does: {0}")]
    NotTaken(transaction::Refused),
    /// The kernel does not let the table be changed.
    #[error("the kernel refused to change the table: {0}")]
    Refused(transaction::Refused),
    /// The kernel does not take other rules.
    #[error(
        "the kernel does not hold the rules that the configuration asks for, and nobody gets an answer until it does: {0}"
    )]
    RulesNotTaken(String),
    /// The firewall's thread has ended.
    #[error("the firewall has ended; the wall stays closed")]
    FirewallGone,
    /// The kernel gives no netlink socket, or no thread.
    #[error("cannot reach nftables in the kernel: {0}")]
    Netlink(#[from] std::io::Error),
}

impl Error {
    /// The same, or, if `nft` says that there is no such table, that.
    fn or_missing(self, table: &str) -> Self {
        match self {
            Self::Nft(NftablesError::NftFailed { stderr, .. }) if stderr.contains("No such file or directory") => {
                Self::NotAsLoaded { table: table.to_owned(), difference: "it is gone".to_owned() }
            }
            other => other,
        }
    }
}

/// Linux renews an element in place since 6.12.
fn renewal() -> element::Renewal {
    match kernel_release() {
        Some(release) if release >= (6, 12) => element::Renewal::InPlace,
        _ => element::Renewal::Replace,
    }
}

/// The kernel's release, as far as what it can do depends on it.
fn kernel_release() -> Option<(u32, u32)> {
    let name = nix::sys::utsname::uname().ok()?;
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn advice(error: &NftablesError) -> String {
    match error {
        NftablesError::NftExecution { inner, .. } if inner.kind() == std::io::ErrorKind::NotFound => {
            "the program `nft` is not installed; on Debian: apt-get install nftables".to_owned()
        }
        NftablesError::NftFailed { stderr, .. } if stderr.contains("Operation not permitted") => {
            "nft may not change the kernel's ruleset (CAP_NET_ADMIN is missing); run this as root".to_owned()
        }
        NftablesError::NftFailed { stderr, .. }
            if ["chain capture", "dnat "].iter().any(|part| stderr.contains(part)) =>
        {
            format!(
                "nft refused: {}; without NAT for nftables in the kernel (nft_chain_nat, nft_nat) nothing can be \
                 captured: set dns_capture = false in the section [wall]",
                stderr.trim()
            )
        }
        NftablesError::NftFailed { stderr, .. } => format!("nft refused: {}", stderr.trim()),
        other => other.to_string(),
    }
}
