//! The pages of the examples tell of what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files::text;

/// The pages: of the examples, and the one that says which to choose.
fn pages() -> Vec<PathBuf> {
    let mut pages = crate::files::with_extension("md");
    pages.push("docs/CHOOSING.md".into());
    pages
}

#[test]
fn the_table_and_the_folders_agree() {
    let folders = fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let folders: BTreeSet<String> = folders
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let linked = |page: &str, before: &str, after: &str| -> BTreeSet<String> {
        let rows = text(page).lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
        let links = rows.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0.to_owned()));
        links.filter(|name| !name.contains(['/', ')'])).collect()
    };
    assert_eq!(linked("examples/README.md", "](", "/README.md)"), folders);
    assert_eq!(linked("docs/CHOOSING.md", "](../examples/", "/README.md)"), folders, "each can be chosen");
    for folder in folders {
        assert!(Path::new("examples").join(&folder).join("README.md").exists(), "{folder} has no page");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let folder = page.parent().unwrap();
        for link in
            text(page.to_str().unwrap()).split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        {
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            assert!(heading.is_empty() || anchors(&target).contains(heading), "{}: {link}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed} links");
}

/// The headings of a page, as a link names them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |heading: &str| -> String {
        let plain = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        plain.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(kept).collect()
}

/// A command that names a file of this repository names one that is there.
#[test]
fn every_file_that_a_command_takes_from_here_is_here() {
    let mut taken = 0;
    for page in pages() {
        let text = text(page.to_str().unwrap());
        for block in text.split("\n```").skip(1).step_by(2) {
            let words = block.split(|letter: char| letter.is_whitespace() || "'\"".contains(letter));
            for word in words.filter(|word| {
                ["examples/", "packaging/", "policies/", "docs/"].iter().any(|folder| word.starts_with(folder))
            }) {
                assert!(Path::new(word).exists(), "{}: {word}", page.display());
                taken += 1;
            }
        }
    }
    assert!(taken > 15, "{taken} files");
}

/// What the commands have the reader type is what the program takes.
#[test]
fn every_option_that_a_command_gives_the_program_is_one_it_has() {
    let mut tried = 0;
    for page in pages() {
        let text = text(page.to_str().unwrap());
        let blocks: Vec<&str> = text.split("\n```").skip(1).step_by(2).collect();
        let commands = blocks.iter().flat_map(|block| block.lines()).flat_map(|line| line.split("&&"));
        for command in commands.map(|command| command.split('#').next().unwrap()) {
            let Some((before, ours)) = command.rsplit_once("cedarwall ") else { continue };
            // Behind `--` is somebody else's command; a namespace is called so, too.
            let mut words = ours.split(" -- ").next().unwrap().split_whitespace();
            let name = words.next().filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
            let Some(name) = name.filter(|_| !before.ends_with("-n ")) else { continue };
            let help = crate::support::run(crate::support::wall::binary().to_str().unwrap(), &[name, "--help"]);
            for option in words.filter(|word| word.starts_with("--")) {
                let mut known = help.split(|letter: char| letter.is_whitespace() || letter == ',');
                assert!(known.any(|word| word == option), "{}: {command}", page.display());
            }
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried} commands");
}
