//! The rules of the house: who may know whom.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    files
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rustok-events/src")
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

/// No file under one of `places` names one of `words`.
fn nobody_in(places: &[&str], words: &[&str]) {
    let mut seen = 0;
    for place in places {
        let path = library().join(place);
        let files = if path.is_dir() {
            sources(&path)
        } else {
            vec![(path.clone(), fs::read_to_string(&path).unwrap())]
        };
        for (file, text) in files {
            seen += 1;
            for word in words {
                if let Some(line) = code(&text).find(|line| line.contains(word)) {
                    panic!("{} names `{word}`: {line}", file.display());
                }
            }
        }
    }
    assert!(seen >= places.len());
}

#[test]
fn the_sdk_is_named_in_its_own_folder_only() {
    for (file, text) in sources(&library()) {
        if file.components().any(|part| part.as_os_str() == "iggy") {
            continue;
        }
        for word in ["use iggy", "crate iggy", "iggy_common", "iggy_binary_protocol"] {
            assert!(!text.contains(word), "{} names `{word}`", file.display());
        }
        // What is left is the folder's own path; `iggy::` alone could be either.
        for line in code(&text) {
            for (at, _) in line.match_indices("iggy::") {
                let file = file.display();
                assert!(line[..at].ends_with("transport::"), "{file} may name the SDK: {line}");
            }
        }
    }
}

/// A `BEGIN` whose future is dropped leaves its transaction open in the pool: the library's own are begun where that cannot
/// be.
#[test]
fn transactions_of_the_library_begin_in_one_place() {
    for (file, text) in sources(&library()) {
        if file.components().any(|part| part.as_os_str() == "testing") || file.ends_with("sql.rs") {
            continue;
        }
        // A note of a compile error is for applications, whose transactions are their own; a consumer's writer has its
        // own from `crate::sql`.
        let begins = |line: &&str| {
            let by_sea_orm =
                [".begin()", ".begin_with_config(", ".begin_with_options(", ".transaction("]
                    .iter()
                    .any(|name| line.contains(name));
            by_sea_orm && !line.starts_with("note") && !line.contains("self.writer.begin()")
        };
        if let Some(line) = code(&text).find(begins) {
            panic!("{} begins a transaction without `crate::sql`: {line}", file.display());
        }
    }
}

#[test]
fn relay_and_consumers_do_not_know_each_other() {
    nobody_in(&["relay"], &["consumer::", "ConsumerRuntime", "inbox::"]);
    nobody_in(&["consumer"], &["relay::", "Relay"]);
}

#[test]
fn events_know_nothing_of_what_carries_them() {
    nobody_in(
        &[
            "event.rs",
            "key.rs",
            "descriptor.rs",
            "error.rs",
            "catalog.rs",
            "check.rs",
            "version.rs",
        ],
        &["outbox", "relay", "transport", "consumer", "sea_orm", "tokio", "chrono"],
    );
}

#[test]
fn the_transport_knows_neither_tables_nor_handlers() {
    nobody_in(&["transport"], &["sea_orm", "outbox::", "inbox::", "handler::", "relay::"]);
}

#[test]
fn every_mutant_still_fits_the_source() {
    for mutant in rustok_events_tests::mutants::MUTANTS {
        let mut texts: std::collections::HashMap<&str, String> = std::collections::HashMap::new();
        for edit in mutant.edits {
            let read = || fs::read_to_string(library().join(edit.file)).unwrap();
            let text = texts.entry(edit.file).or_insert_with(read);
            *text = edit.apply(text).unwrap_or_else(|error| panic!("{}: {error}", mutant.what));
        }
    }
}

#[test]
fn a_domain_crate_pulls_in_serde_uuid_and_little_else() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "commerce-events"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(crates.contains("serde") && crates.contains("uuid"), "{crates:?}");
    for heavy in ["iggy", "sea-orm", "tokio", "chrono", "serde_json", "bytes", "tracing"] {
        assert!(!crates.contains(heavy), "a domain crate pulls in {heavy}");
    }
    assert!(crates.len() <= 20, "{crates:?}");
}

/// Every `[`test`](path)` in the documents names a test that is there.
#[test]
fn documents_name_tests_that_exist() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut seen = 0;
    for file in fs::read_dir(&docs).unwrap() {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap_or_default();
        for link in text.split("[`").skip(1) {
            let Some((name, rest)) = link.split_once("`](") else { continue };
            let Some((path, _)) = rest.split_once(')') else { continue };
            let is_source = Path::new(path).extension().is_some_and(|extension| extension == "rs");
            if !path.contains("/tests/") || !is_source || name.contains('/') {
                continue;
            }
            seen += 1;
            let target = docs.join(path);
            let source = fs::read_to_string(&target)
                .unwrap_or_else(|error| panic!("{}: {path}: {error}", file.display()));
            assert!(
                source.contains(&format!("fn {name}")),
                "{}: there is no test `{name}` in {path}",
                file.display()
            );
        }
    }
    assert!(seen > 20, "only {seen} tests are named");
}
