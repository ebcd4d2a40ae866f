//! Which words announce a secret.

use super::{MASK, is_quote};

/// A key is secret if it holds one of these, lower case and without `-`, `_`
/// and `.`.
const HELD: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passin",
    "passout",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "bearer",
    "jwt",
    "connectionstring",
];
/// Or ends with one of these.
const ENDINGS: [&str; 8] = ["pass", "pwd", "key", "auth", "signature", "sig", "otp", "sas"];
/// Words that announce a secret even without a dash before or a sign behind
/// them.
const BARE: [&str; 9] =
    ["password", "passwd", "passphrase", "token", "authtoken", "secret", "apikey", "auth", "bearer"];
/// What stands between `Authorization:` and the secret.
const SCHEMES: [&str; 6] = ["bearer", "basic", "token", "digest", "negotiate", "apikey"];

/// Options that take a secret and do not sound like it: program and option. Those
/// of a single letter may be followed by it without a blank.
const OPTIONS: [(&str, &str); 23] = [
    ("mysql", "-p"),
    ("mysqldump", "-p"),
    ("mysqladmin", "-p"),
    ("mysqlimport", "-p"),
    ("mariadb", "-p"),
    ("mariadb-dump", "-p"),
    ("sshpass", "-p"),
    ("curl", "-u"),
    ("curl", "-U"),
    ("curl", "--user"),
    ("curl", "--proxy-user"),
    ("curl", "-b"),
    ("redis-cli", "-a"),
    ("mongo", "-p"),
    ("mongosh", "-p"),
    ("mongodump", "-p"),
    ("7z", "-p"),
    ("zip", "-P"),
    ("unzip", "-P"),
    ("ldapsearch", "-w"),
    ("smbclient", "-U"),
    ("sqlcmd", "-P"),
    ("mosquitto_pub", "-P"),
];

/// Which of the programs in [`OPTIONS`] a command line has named so far.
#[derive(Default)]
pub(super) struct Tools(Vec<&'static str>);

impl Tools {
    /// Notes `word` if it names one of them.
    pub(super) fn note(&mut self, word: &str) {
        let name = word.rsplit('/').next().unwrap_or_default().trim_matches(is_quote);
        if let Some((tool, _)) = OPTIONS.iter().find(|(tool, _)| *tool == name) {
            self.0.push(tool);
        }
    }

    /// The word as it may be shown, if it is an option of theirs that takes a
    /// secret; `pending` is set where that is the next word.
    pub(super) fn option(&self, word: &str, pending: &mut bool) -> Option<String> {
        let ours = OPTIONS.iter().filter(|(tool, _)| self.0.contains(tool));
        let mut fitting = ours.filter(|(_, option)| word.starts_with(option));
        let (_, option) = fitting.next()?;
        let value = word.strip_prefix(option).unwrap_or_default();
        if value.is_empty() {
            *pending = true;
            return Some(word.to_owned());
        }
        (!option.starts_with("--")).then(|| format!("{option}{MASK}"))
    }
}

/// Whether `word` says that the next one is a secret: `--password`, `token`.
pub(super) fn announces(word: &str) -> bool {
    if word.contains(['=', ' ']) {
        return false;
    }
    let word = word.trim_matches(is_quote);
    if word.starts_with('-') {
        return !word.contains(':') && is_secret(word);
    }
    let tail = word.rsplit(['/', ':']).next().unwrap_or_default();
    BARE.contains(&bare(tail).as_str())
}

/// Whether `word` is the name of a scheme, after which the secret follows.
pub(super) fn is_scheme(word: &str) -> bool {
    SCHEMES.contains(&bare(word).as_str())
}

/// Where the value begins, if a text begins with a secret key and `=` or `:`.
pub(super) fn leading_key(text: &str) -> Option<usize> {
    let index = text.find(|character: char| !is_of_a_key(character))?;
    (text.get(index..)?.starts_with(['=', ':']) && is_secret(text.get(..index)?)).then_some(index + 1)
}

/// Whether what stands right before the `=` or `:` at `index` is a secret key.
pub(super) fn secret_key_before(word: &str, index: usize) -> bool {
    let before = word.get(..index).unwrap_or_default();
    let start = before.rfind(|character: char| !is_of_a_key(character) && !is_quote(character) && character != ']');
    let key = start.and_then(|start| before.get(start..)).unwrap_or(before);
    is_secret(key)
}

fn is_of_a_key(character: char) -> bool {
    character.is_alphanumeric() || "-_.".contains(character)
}

fn is_secret(key: &str) -> bool {
    let key = bare(key);
    HELD.iter().any(|held| key.contains(held)) || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Its letters and digits alone, lower case.
fn bare(word: &str) -> String {
    word.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
