//! A line of JSON (RFC 8259).

/// One object, member by member.
pub struct Line(String);

impl Line {
    /// An object without members.
    pub fn new() -> Self {
        Self("{".into())
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: usize) {
        self.member(name, &value.to_string());
    }

    /// True or false.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.member(name, if value { "true" } else { "false" });
    }

    /// Text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.member(name, &quoted(value));
    }

    /// Text, if there is any.
    pub fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// The whole object.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn member(&mut self, name: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("\"{name}\":{value}"));
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if u32::from(character) < 0x20 => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_can_be_read_again() {
        let mut line = Line::new();
        line.text("a", "\"\\\n\u{7f}ä");
        line.number("b", 7);
        line.flag("c", true);
        assert_eq!(line.end(), "{\"a\":\"\\\"\\\\\\u000a\u{7f}ä\",\"b\":7,\"c\":true}");
    }
}
