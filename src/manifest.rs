//! Manifests: files, directories and streams of YAML documents, and the Pod templates in them.
//!
//! A document that nothing is done to leaves byte for byte as it came.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::text::excerpt;
use crate::yaml::{self, Step};

mod object;

pub use object::{Object, Template, get, get_mut, misplaced, objects, templates, title};

/// One YAML document and where it came from.
#[derive(Debug, Clone)]
pub struct Document {
    file: Rc<str>,
    /// Lines of the file before the document.
    offset: u64,
    /// As written, without the separator.
    pub text: String,
    /// As read; null for a document of comments only.
    pub value: Value,
}

/// One sentence about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// `file:line:column`, as far as it is known.
    pub place: String,
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a file's name or a template in it holds: it goes to terminals and logs.
        let line = |text: &str| excerpt(text, usize::MAX);
        if self.place.is_empty() {
            f.write_str(&line(&self.message))
        } else {
            write!(f, "{}: {}", line(&self.place), line(&self.message))
        }
    }
}

impl Document {
    /// A sentence about the field at `path`.
    #[must_use]
    pub fn complain(&self, path: &[Step], message: impl Into<String>) -> Complaint {
        let place = yaml::locate(&self.text, path).map_or_else(
            || format!("{}:{}", self.file, self.offset + 1),
            |place| {
                format!(
                    "{}:{}:{}",
                    self.file,
                    place.line + self.offset,
                    place.column
                )
            },
        );
        Complaint {
            place,
            message: message.into(),
        }
    }

    /// What [`misplaced`] finds, at its line.
    #[must_use]
    pub fn misplaced(&self, template: &Template) -> Vec<Complaint> {
        misplaced(&self.value, template)
            .into_iter()
            .map(|(path, sentence)| self.complain(&path, sentence))
            .collect()
    }

    /// `Deployment shop`, for people.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.value)
    }

    /// The file's name as given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// Reads every document of `paths`: files, directories (their `.yaml`, `.yml` and `.json` files, by name), `-` for standard input.
/// The outer error is the environment's, the inner ones are the documents'.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Result<Vec<Document>, Vec<Complaint>>> {
    let mut documents = Vec::new();
    let mut complaints = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("standard input")?;
            decode("<stdin>", bytes, &mut documents, &mut complaints);
            continue;
        }
        let found = files(path)?;
        if found.is_empty() {
            bail!(
                "{}: no .yaml, .yml or .json file is in this directory",
                path.display()
            );
        }
        for file in found {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            decode(
                &file.display().to_string(),
                bytes,
                &mut documents,
                &mut complaints,
            );
        }
    }
    Ok(if complaints.is_empty() {
        Ok(documents)
    } else {
        Err(complaints)
    })
}

/// The documents of one file's `bytes`, and what is wrong with the others; `file` is what complaints call it.
#[must_use]
pub fn parse(file: &str, bytes: Vec<u8>) -> (Vec<Document>, Vec<Complaint>) {
    let (mut documents, mut complaints) = (Vec::new(), Vec::new());
    decode(file, bytes, &mut documents, &mut complaints);
    (documents, complaints)
}

/// Splits a stream that is text; the complaint names the first byte that is not.
fn decode(
    file: &str,
    bytes: Vec<u8>,
    documents: &mut Vec<Document>,
    complaints: &mut Vec<Complaint>,
) {
    match String::from_utf8(bytes) {
        Ok(text) => split(file, &text, documents, complaints),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            let column = good
                .rsplit(|byte| *byte == b'\n')
                .next()
                .map_or(0, <[u8]>::len);
            complaints.push(Complaint {
                place: format!("{file}:{line}:{}", column + 1),
                message: "not YAML: the file is not UTF-8".to_owned(),
            });
        }
    }
}

/// A file itself; the `.yaml`, `.yml` and `.json` files of a directory, by name.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry.with_context(|| path.display().to_string())?.path();
        let known = entry.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        });
        if known && entry.is_file() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

/// Splits a stream at its separators. `---` at the start of a line separates documents wherever it stands: YAML does not allow it
/// inside a scalar (§9.1.2, c-forbidden).
fn split(file: &str, text: &str, documents: &mut Vec<Document>, complaints: &mut Vec<Complaint>) {
    let file: Rc<str> = file.into();
    let mut parts: Vec<(u64, String)> = vec![(0, String::new())];
    for (index, line) in text
        .trim_start_matches('\u{feff}')
        .split_inclusive('\n')
        .enumerate()
    {
        let separator = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        match (separator, parts.last_mut()) {
            (Some(rest), _) => {
                let rest = rest.trim_start_matches([' ', '\t']);
                let content = if rest.trim().is_empty() || rest.starts_with('#') {
                    String::new()
                } else {
                    rest.to_owned()
                };
                let skipped = u64::from(content.is_empty());
                parts.push((index as u64 + skipped, content));
            }
            // A directive stands before a document; elsewhere the parser has to complain.
            (None, Some((_, part))) if part.trim().is_empty() && line.starts_with('%') => {}
            (None, Some((_, part))) => part.push_str(line),
            (None, None) => {}
        }
    }
    for (offset, part) in parts
        .into_iter()
        .filter(|(_, part)| !part.trim().is_empty())
    {
        match yaml::read(&part) {
            Ok(value) => documents.push(Document {
                file: file.clone(),
                offset,
                text: part,
                value,
            }),
            Err(error) => {
                let place = error.place.map_or_else(
                    || format!("{file}:{}", offset + 1),
                    |place| format!("{file}:{}:{}", place.line + offset, place.column),
                );
                complaints.push(Complaint {
                    place,
                    message: format!("not YAML: {}", error.message),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Document> {
        let (mut documents, mut complaints) = (Vec::new(), Vec::new());
        split("f.yaml", text, &mut documents, &mut complaints);
        assert_eq!(complaints, []);
        documents
    }

    #[test]
    fn streams_are_split_and_keep_their_lines() {
        let documents =
            documents("%YAML 1.2\n---\n# first\na: |\n  x\n  --- y\n--- # note\n---\nb: 1\n");
        assert_eq!(
            documents
                .iter()
                .map(|document| document.text.as_str())
                .collect::<Vec<_>>(),
            ["# first\na: |\n  x\n  --- y\n", "b: 1\n"]
        );
        assert_eq!(
            documents[1]
                .complain(&[Step::Key("b".to_owned())], "m")
                .to_string(),
            "f.yaml:9:1: m"
        );
    }

    #[test]
    fn a_complaint_is_one_line() {
        let complaint = Complaint {
            place: "a\nb.yaml:1:1".to_owned(),
            message: "`{{ \u{1b}[2J }}`: no".to_owned(),
        };
        assert_eq!(complaint.to_string(), "a b.yaml:1:1: `{{  [2J }}`: no");
    }

    #[test]
    fn what_does_not_parse_is_placed_in_the_file() {
        let (mut documents, mut complaints) = (Vec::new(), Vec::new());
        split(
            "f.yaml",
            "a: 1\n---\nb: [1\n---\nc: 1\nc: 2\n",
            &mut documents,
            &mut complaints,
        );
        assert_eq!(documents.len(), 1);
        assert_eq!(complaints[1].place, "f.yaml:6:1");
        assert!(complaints[0].place.starts_with("f.yaml:"), "{complaints:?}");
    }
}
