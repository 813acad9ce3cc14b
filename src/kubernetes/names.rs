//! Names: what Kubernetes and Outrigger allow (`apimachinery/pkg/util/validation`).

use std::fmt;

/// Longest DNS label.
pub const MAX_LABEL: usize = 63;
/// Longest pattern name: with suffix and file, an annotation's name part stays within 63.
pub const MAX_PATTERN: usize = 28;
/// Longest suffix of an instance.
pub const MAX_SUFFIX: usize = 12;
/// Longest name of a config file.
pub const MAX_FILE: usize = 21;

/// RFC 1123 label: a-z, 0-9 and `-`, starting and ending with a letter or digit, at most 63.
#[must_use]
pub fn dns_label(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_LABEL
        && text.bytes().next().is_some_and(edge)
        && text.bytes().next_back().is_some_and(edge)
        && text.bytes().all(|byte| edge(byte) || byte == b'-')
}

/// A config file's name: DNS labels joined by dots, at most 21.
#[must_use]
pub fn file_name(text: &str) -> bool {
    text.len() <= MAX_FILE && text.split('.').all(dns_label)
}

/// A port's name: at most 15 of a-z, 0-9 and `-`, at least one letter, no `--`, no `-` at an end (`IsValidPortName`).
#[must_use]
pub fn port_name(text: &str) -> bool {
    text.len() <= 15
        && dns_label(text)
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// An annotation's or label's key: `name` or `domain/name` (`IsQualifiedName`).
#[must_use]
pub fn qualified_name(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    let domain_fits =
        domain.is_none_or(|domain| domain.len() <= 253 && domain.split('.').all(dns_label));
    domain_fits && !name.is_empty() && label_value(name)
}

/// A label's value: empty, or at most 63 of letters, digits, `-`, `_` and `.`, a letter or digit at both ends.
#[must_use]
pub fn label_value(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// One use of a pattern in one Pod: `<pattern>` or `<pattern>.<suffix>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    pub pattern: String,
    pub suffix: Option<String>,
}

impl Instance {
    /// The unsuffixed instance of `pattern`.
    #[must_use]
    pub fn of(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            suffix: None,
        }
    }

    /// Reads `<pattern>[.<suffix>]`; the sentence says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (pattern, suffix) = match text.split_once('.') {
            Some((pattern, suffix)) => (pattern, Some(suffix)),
            None => (text, None),
        };
        let fits = |part: &str, limit: usize| {
            part.len() <= limit && dns_label(part) && !part.contains("--")
        };
        if !fits(pattern, MAX_PATTERN) {
            return Err(format!(
                "`{}` is not a pattern's name: expected at most {MAX_PATTERN} of a-z, 0-9 and `-`, no `--`",
                crate::text::excerpt(pattern, 63)
            ));
        }
        match suffix {
            Some(suffix) if !fits(suffix, MAX_SUFFIX) => Err(format!(
                "`{}` is not a suffix: expected at most {MAX_SUFFIX} of a-z, 0-9 and `-`, no `--`",
                crate::text::excerpt(suffix, 63)
            )),
            _ => Ok(Self {
                pattern: pattern.to_owned(),
                suffix: suffix.map(str::to_owned),
            }),
        }
    }

    /// What its first container is called: `<pattern>` or `<pattern>--<suffix>`.
    #[must_use]
    pub fn container(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}--{suffix}", self.pattern),
            None => self.pattern.clone(),
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.suffix {
            Some(suffix) => write!(f, "{}.{suffix}", self.pattern),
            None => f.write_str(&self.pattern),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kubernetes_names() {
        assert!(
            dns_label("a-1")
                && !dns_label("-a")
                && !dns_label("A")
                && !dns_label("")
                && !dns_label(&"a".repeat(64))
        );
        assert!(
            port_name("http")
                && !port_name("8080")
                && !port_name("a--b")
                && !port_name("sixteen-letters-")
        );
        assert!(
            qualified_name("prometheus.io/scrape")
                && qualified_name("a")
                && !qualified_name("a/b/c")
                && !qualified_name("/a")
                && !qualified_name("a/")
        );
        assert!(
            label_value("") && label_value("a_B.c") && !label_value("-a") && !label_value("a b")
        );
        assert!(
            file_name("envoy.yaml")
                && !file_name("../x")
                && !file_name("a..b")
                && !file_name("abcdefghijklmnopqrstuv")
        );
    }

    #[test]
    fn instances_parse_and_print() {
        for text in ["https", "redis-shard.sessions"] {
            assert_eq!(Instance::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Instance::parse("a.b").unwrap().container(), "a--b");
        for text in ["", "a--b", "a.b--c", "a.", "A", "a.b.c", "a.abcdefghijklm"] {
            assert!(Instance::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_names_fit_one_annotation_key() {
        assert_eq!(MAX_PATTERN + 1 + MAX_SUFFIX + 1 + MAX_FILE, MAX_LABEL);
    }
}
