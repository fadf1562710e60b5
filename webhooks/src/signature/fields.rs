//! Structured fields (RFC 8941), as far as signatures need them: dictionaries of inner lists and of byte sequences.
//!
//! Stricter than the standard where it lets a reader choose: a key that comes twice makes a dictionary malformed, and so does a
//! length that nobody needs.

const MAX_BYTES: usize = 8 * 1024;
const MAX_PARTS: usize = 32;

/// A dictionary's member.
#[derive(Debug, PartialEq)]
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    pub(super) value: Value<'a>,
    pub(super) params: Vec<(&'a str, Item<'a>)>,
    /// Value and parameters, as they stand in the header.
    pub(super) text: &'a str,
}

/// What a member holds.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// An inner list.
    List(Vec<Item<'a>>),
    Item(Item<'a>),
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// A string without escapes.
    Text(&'a str),
    Integer(i64),
    /// What stands between the colons; in which alphabet it is, the profile says.
    Bytes(&'a str),
    /// What no signature needs: a token, a boolean, a decimal, a string with escapes, anything with parameters of its own.
    Other,
}

/// The members of a dictionary, in order; `None`: malformed.
pub(super) fn dictionary(text: &str) -> Option<Vec<Member<'_>>> {
    if text.len() > MAX_BYTES || !text.is_ascii() {
        return None;
    }
    let mut reader = Reader { rest: text.trim_matches(' ') };
    let mut members: Vec<Member<'_>> = Vec::new();
    loop {
        let member = reader.member()?;
        if members.len() == MAX_PARTS || members.iter().any(|other| other.key == member.key) {
            return None;
        }
        members.push(member);
        reader.skip(&[' ', '\t']);
        if reader.rest.is_empty() {
            return Some(members);
        }
        reader.eat(',')?;
        reader.skip(&[' ', '\t']);
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn member(&mut self) -> Option<Member<'a>> {
        let key = self.key()?;
        let from = self.rest;
        let mut value = Value::Item(Item::Other);
        let mut start = from;
        if self.eat('=').is_some() {
            start = self.rest;
            value = if self.rest.starts_with('(') { Value::List(self.list()?) } else { Value::Item(self.item()?) };
        }
        let params = self.params()?;
        let text = start.get(..start.len() - self.rest.len())?;
        Some(Member { key, value, params, text })
    }

    fn list(&mut self) -> Option<Vec<Item<'a>>> {
        self.eat('(')?;
        let mut items = Vec::new();
        loop {
            self.skip(&[' ']);
            if self.eat(')').is_some() {
                return Some(items);
            }
            let item = self.item()?;
            let plain = self.params()?.is_empty();
            if items.len() == MAX_PARTS || !self.rest.starts_with([' ', ')']) {
                return None;
            }
            items.push(if plain { item } else { Item::Other });
        }
    }

    fn params(&mut self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let mut params: Vec<(&'a str, Item<'a>)> = Vec::new();
        while self.eat(';').is_some() {
            self.skip(&[' ']);
            let key = self.key()?;
            let value = if self.eat('=').is_some() { self.item()? } else { Item::Other };
            if params.len() == MAX_PARTS || params.iter().any(|(other, _)| *other == key) {
                return None;
            }
            params.push((key, value));
        }
        Some(params)
    }

    fn key(&mut self) -> Option<&'a str> {
        if !self.rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '*') {
            return None;
        }
        Some(self.take(|char| matches!(char, 'a'..='z' | '0'..='9' | '_' | '-' | '.' | '*')))
    }

    fn item(&mut self) -> Option<Item<'a>> {
        match self.rest.chars().next()? {
            '"' => self.string(),
            ':' => {
                self.eat(':')?;
                let bytes =
                    self.take(|char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=' | '-' | '_'));
                self.eat(':').map(|()| Item::Bytes(bytes))
            }
            '?' => {
                self.eat('?')?;
                let one = self.take(|char| matches!(char, '0' | '1'));
                (one.len() == 1).then_some(Item::Other)
            }
            '-' | '0'..='9' => self.number(),
            first if first.is_ascii_alphabetic() || first == '*' => {
                self.take(|char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(char));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item<'a>> {
        let text = self.take(|char| matches!(char, '-' | '.' | '0'..='9'));
        if text.contains('.') {
            return text.parse::<f64>().ok().map(|_| Item::Other);
        }
        // As many digits as RFC 8941 has.
        (text.len() <= 16).then(|| text.parse().ok().map(Item::Integer))?
    }

    fn string(&mut self) -> Option<Item<'a>> {
        self.eat('"')?;
        let (whole, mut escapes) = (self.rest, false);
        loop {
            self.take(|char| matches!(char, ' '..='~') && char != '"' && char != '\\');
            if self.eat('\\').is_some() {
                escapes = true;
                self.eat('"').or_else(|| self.eat('\\'))?;
                continue;
            }
            let inner = whole.get(..whole.len() - self.rest.len())?;
            self.eat('"')?;
            return Some(if escapes { Item::Other } else { Item::Text(inner) });
        }
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn skip(&mut self, blanks: &[char]) {
        self.rest = self.rest.trim_start_matches(blanks);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|char: char| !wanted(char)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_read_to_the_letter() {
        let text = r#"sig1=("@method" "a,b;c" "x";req);created=12;nonce="a\"b";alg="ed25519" ,  two=:YQ==:;p, three"#;
        let [one, two, three] = &dictionary(text).unwrap()[..] else { panic!() };
        assert_eq!(one.value, Value::List(vec![Item::Text("@method"), Item::Text("a,b;c"), Item::Other]));
        let params = [("created", Item::Integer(12)), ("nonce", Item::Other), ("alg", Item::Text("ed25519"))];
        assert_eq!(one.params, params);
        assert_eq!(one.text, r#"("@method" "a,b;c" "x";req);created=12;nonce="a\"b";alg="ed25519""#);
        assert_eq!((two.key, &two.value, two.text), ("two", &Value::Item(Item::Bytes("YQ==")), ":YQ==:;p"));
        assert_eq!((three.key, &three.value), ("three", &Value::Item(Item::Other)));
        for (value, read) in [
            ("?1", Item::Other),
            ("-7", Item::Integer(-7)),
            ("1.5", Item::Other),
            ("token/a:b", Item::Other),
            ("::", Item::Bytes("")),
            ("\"\"", Item::Text("")),
        ] {
            let text = format!("a={value}");
            assert_eq!(dictionary(&text).unwrap()[0].value, Value::Item(read), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_is_not_guessed_at() {
        for text in [
            "",
            ",",
            "a=1,",
            "a=1,,b=2",
            "a=1 b=2",
            "A=1",
            "sha-256=:YQ==:, SHA-256=:YQ==:",
            "a=1, a=2",
            "a;b;b",
            "a=(\"x\"",
            "a=(\"x\"\"y\")",
            "a=\"x",
            "a=\"x\\y\"",
            "a=:YQ==",
            "a=:Y Q:",
            "a=?2",
            "a=?",
            "a=",
            "a=-",
            "a=1-2",
            "a=12345678901234567",
            "a=(\"x\"));b",
            "a=é",
            "a=\"\u{7}\"",
            "a=not a value!!!",
            "a=1;B=2",
            "1=2",
        ] {
            assert_eq!(dictionary(text), None, "{text}");
        }
        assert_eq!(dictionary(&format!("a=\"{}\"", "x".repeat(MAX_BYTES))), None);
        let many = |number: usize| (0..number).map(|number| format!("k{number}")).collect::<Vec<_>>().join(",");
        assert!(dictionary(&many(MAX_PARTS)).is_some() && dictionary(&many(MAX_PARTS + 1)).is_none());
    }
}
