//! The files of the examples, read as what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::wall::binary;

/// A file's text.
pub fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file.
pub fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of this kind.
pub fn manifest(path: &str, kind: &str) -> Value {
    let mut of_kind: Vec<Value> = documents(path).into_iter().filter(|document| document["kind"] == kind).collect();
    assert_eq!(of_kind.len(), 1, "{path}: {kind}");
    of_kind.remove(0)
}

/// The files below the examples with this extension.
pub fn with_extension(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // A link leads to a policy, which is tested where it lives.
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A text with each of these changes made, once each.
pub fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in\n{text}");
        text.replace(from, to)
    })
}

/// Writes the files of a ConfigMap as a volume of it has them.
pub fn unpack(map: &Value, volumes: &Value, folder: &Path) {
    let volume =
        volumes.as_array().unwrap().iter().find(|volume| volume["configMap"]["name"] == map["metadata"]["name"]);
    let items = volume.expect("a volume of it")["configMap"]["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), map["data"].as_object().unwrap().len(), "each key is mounted");
    for item in items {
        let path = folder.join(item["path"].as_str().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, map["data"][item["key"].as_str().unwrap()].as_str().expect("the key is there")).unwrap();
    }
}

/// What `cedarwall check` says of a configuration and its policy.
pub fn check(configuration: &Path) -> Result<(), String> {
    let output =
        Command::new(binary()).args(["check", "--deny-warnings", "--config"]).arg(configuration).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}
