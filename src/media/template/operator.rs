//! An operator's own templates: files of a directory that take the place of ours of the same name.
//!
//! They are read once, before anything is built, and held to the same allow list. What our code looks up by name must be in
//! them as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::allowed::{check, words};
use super::{TemplateError, Texts};

/// Names that only a template itself uses.
const INTERNAL: [&str; 2] = ["mux", "demux"];

/// A template that took the place of ours.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

static OWN: OnceLock<BTreeMap<String, Own>> = OnceLock::new();

/// The operator's template of this name.
pub(super) fn own(template: &str) -> Option<&'static Own> {
    OWN.get()?.get(template)
}

/// Takes every `NAME.launch` of a directory in the place of ours, for the whole process; to be called once, before anything
/// is built. Gives their names.
///
/// # Errors
/// The directory cannot be read; a file has a name that none of ours has, an element that is not allowed, or lacks an end that is
/// needed. The text says file, line and column.
pub fn use_directory(directory: &Path) -> Result<Vec<String>, TemplateError> {
    let found = read(directory)?;
    let names = found.keys().cloned().collect();
    OWN.set(found).map_err(|_| TemplateError::Twice)?;
    Ok(names)
}

fn read(directory: &Path) -> Result<BTreeMap<String, Own>, TemplateError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TemplateError::Io { path, source }
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(io(directory))? {
        let file = entry.map_err(io(directory))?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".launch")) else { continue };
        let Some(ours) = Texts::get(&format!("{name}.launch")) else {
            let known = Texts::iter().filter_map(|name| Some(name.strip_suffix(".launch")?.to_owned()));
            let reason =
                format!("there is no template of this name: there are {}", known.collect::<Vec<_>>().join(", "));
            return Err(TemplateError::Wrong { file: file.display().to_string(), line: 1, column: 1, reason });
        };
        let text = std::fs::read_to_string(&file).map_err(io(&file))?;
        check(&file.display().to_string(), &text)?;
        ends(&file, &String::from_utf8_lossy(&ours.data), &text)?;
        found.insert(name.to_owned(), Own { text, file });
    }
    Ok(found)
}

/// Refuses a text that lacks a name by which our code sets something.
fn ends(file: &Path, ours: &str, text: &str) -> Result<(), TemplateError> {
    let names = |text| words(text).filter_map(|word| word.text.strip_prefix("name=")).map(str::to_owned);
    let present: Vec<_> = names(text).collect();
    match names(ours).find(|name| !INTERNAL.contains(&name.as_str()) && !present.contains(name)) {
        None => Ok(()),
        Some(name) => Err(TemplateError::Wrong {
            file: file.display().to_string(),
            line: text.lines().count().max(1),
            column: 1,
            reason: format!("the end `{name}` is missing: give an element name={name}, as ours has it"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MKV: &str = "video: appsrc name=video ! {parse} ! mux.\naudio: appsrc name=audio ! {parse} ! mux.\n";

    fn refused(name: &str, text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), text).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        error.replace(&format!("{}/", directory.path().display()), "")
    }

    #[test]
    fn a_template_of_the_same_name_takes_the_place_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("# mine\n{MKV}matroskamux name=mux writing-app=mine ! filesink name=sink\n");
        std::fs::write(directory.path().join("mkv.launch"), &text).unwrap();
        std::fs::write(directory.path().join("README"), "nothing to do with it").unwrap();
        let found = read(directory.path()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["mkv"]);
        assert_eq!(found["mkv"].text, text);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_column() {
        for (name, text, expected) in [
            (
                "mkv.launch",
                "# x\nappsrc name=video !  souphttpsrc ! mux.",
                "mkv.launch:2:22: the element `souphttpsrc` is not allowed",
            ),
            ("mkv.launch", MKV, "mkv.launch:2:1: the end `sink` is missing"),
            ("mine.launch", MKV, "mine.launch:1:1: there is no template of this name: there are "),
        ] {
            let error = refused(name, text);
            assert!(error.contains(expected), "{error}");
        }
        let error = read(Path::new("/proc/none")).unwrap_err().to_string();
        assert!(error.contains("/proc/none"), "{error}");
    }
}
