// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Numbers and names in texts for users.

use std::fmt::Write;

/// Returns a number with its noun: "1 process", "3 processes".
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// Returns a text in one line and without control characters: a program chooses its own name, and
/// must not be able to send escape sequences to the terminal of root.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns a text of several lines without other control characters: paths are chosen by programs
/// too.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let files = |number| count(number, "file", "files");
        assert_eq!([0, 1, 2].map(files), ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\x1b[31m\nb ä\""), "a\\u{1b}[31m\\nb ä\"");
        assert_eq!(printable_lines("a\n\u{9b}b\n"), "a\n\\u{9b}b\n");
    }
}
