//! Broken requests: all that are one wrong step away from a good one. The same seed takes the same ones of them.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Map, Value, json};

/// A source of chance that can be repeated: its seed is in `HANDOFF_TEST_SEED`, and in the output of a test that fails.
pub fn chance() -> StdRng {
    let seed = number("HANDOFF_TEST_SEED", 1);
    println!("HANDOFF_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// As many cases as `HANDOFF_TEST_FUZZ` says, or this many.
pub fn some<T>(mut cases: Vec<T>, default: u64, chance: &mut StdRng) -> Vec<T> {
    cases.shuffle(chance);
    cases.truncate(usize::try_from(number("HANDOFF_TEST_FUZZ", default)).unwrap_or(usize::MAX));
    cases
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect(variable))
}

/// What is wrong, and the broken request.
pub type Broken = (String, Value);

/// The request with each of its places holding each kind of value that does not belong there, left out, and beside a stranger.
pub fn wrong_values(request: &Value) -> Vec<Broken> {
    let mut broken = Vec::new();
    for place in places(request) {
        let original = request.pointer(&place).expect("a place");
        for value in values().into_iter().filter(|value| value != original) {
            let shown: String = value.to_string().chars().take(40).collect();
            let mut request = request.clone();
            *request.pointer_mut(&place).expect("a place") = value;
            broken.push((format!("{place} is {shown}"), request));
        }
        if let Some(parent) = parent(&place) {
            let (parent, name) = parent;
            let mut without = request.clone();
            match without.pointer_mut(parent) {
                Some(Value::Object(fields)) => drop(fields.remove(&name)),
                Some(Value::Array(items)) => drop(items.remove(name.parse().expect("an index"))),
                _ => continue,
            }
            broken.push((format!("{place} is left out"), without));
        }
        if original.is_object() {
            let mut beside = request.clone();
            beside.pointer_mut(&place).expect("a place")["a_stranger"] = json!({"a": [1, "b"]});
            broken.push((format!("{place} has a stranger"), beside));
        }
    }
    broken
}

/// All places of a value but itself, as JSON pointers.
pub fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (name, child) in children {
        let place = format!("{at}/{name}");
        collect(child, &place, found);
        found.push(place);
    }
}

fn parent(place: &str) -> Option<(&str, String)> {
    let (parent, name) = place.rsplit_once('/')?;
    Some((parent, name.replace("~1", "/").replace("~0", "~")))
}

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(2.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("no-account:nobody"),
        json!("\u{202e}../../etc/passwd%00'; DROP TABLE tasks; --"),
        json!("\u{1f4a9}".repeat(300)),
        json!("9".repeat(10_000)),
        json!([]),
        json!([null]),
        json!([[[[1]]]]),
        json!({}),
        json!({"": {"": null}}),
        Value::Object((0..200).map(|number| (format!("f{number}"), json!(number))).collect::<Map<_, _>>()),
    ]
}

/// A good message, broken as text: what is wrong, and its bytes.
pub fn wrong_bytes(good: &Value, chance: &mut StdRng) -> Vec<(String, Vec<u8>)> {
    let text = good.to_string();
    let mut broken = wrong_inside(good);
    broken.extend(keys_twice(&text));
    for at in 0..text.len() {
        let (mut changed, mut longer) = (text.as_bytes().to_vec(), text.as_bytes().to_vec());
        let byte = chance.random();
        changed[at] = byte;
        longer.insert(at, byte);
        broken.push((format!("cut at {at}"), text.as_bytes()[..at].to_vec()));
        broken.push((format!("{byte:#04x} instead at {at}"), changed));
        broken.push((format!("{byte:#04x} more at {at}"), longer));
    }
    broken
}

// Where a value stands there is something that is none, or none that everyone reads alike.
fn wrong_inside(good: &Value) -> Vec<(String, Vec<u8>)> {
    let mut broken = Vec::new();
    let deep = [("[", "]"), (r#"{"a":"#, "}")]
        .map(|(open, close)| [70, 5_000].map(|levels| format!("{}1{}", open.repeat(levels), close.repeat(levels))));
    let long = "9".repeat(100_000);
    let texts = [
        "NaN",
        "Infinity",
        "-",
        "-0",
        "01",
        "1.",
        ".5",
        "1e",
        "1e999",
        "-1e-999",
        "0x10",
        "1_000",
        "'a'",
        "undefined",
        "tru",
        "",
        "/* a */ 1",
        "1 // a\n",
        "[1,]",
        r#"{"a":1,}"#,
        "{1:1}",
        "[1 2]",
        "\u{feff}1",
        "\u{a0}1",
        &long,
        &deep[0][0],
        &deep[0][1],
        &deep[1][0],
        &deep[1][1],
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\u0000""#,
        r#""\x""#,
        "\"a\nb\"",
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"$serde_json::private::RawValue":"{}"}"#,
    ];
    let bytes =
        [&b"\"\xff\xfe\""[..], b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\"", b"\"\xf0\x9f\x92\"", b"\"\xf8\x88\x80\x80\x80\""];
    for place in places(good) {
        let mut marked = good.clone();
        *marked.pointer_mut(&place).expect("a place") = json!(MARK);
        let marked = marked.to_string();
        let (before, after) = marked.split_once(&json!(MARK).to_string()).expect("the mark");
        for inside in texts.iter().map(|text| text.as_bytes()).chain(bytes) {
            let shown: String = String::from_utf8_lossy(inside).chars().take(20).collect();
            broken.push((format!("{place} is {shown}"), [before.as_bytes(), inside, after.as_bytes()].concat()));
        }
    }
    broken
}

const MARK: &str = "the place";

/// Each key of each object is there twice: with the value that it has, as it is and escaped.
fn keys_twice(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut broken = Vec::new();
    for (colon, _) in text.match_indices("\":") {
        let Some(open) = text[..colon].rfind('"') else { continue };
        let key = &text[open + 1..colon];
        let Some(first) = key.chars().next().filter(char::is_ascii) else { continue };
        let escaped = format!("\\u{:04x}{}", u32::from(first), &key[1..]);
        for again in [key, &escaped] {
            let twice = format!("{}\"{again}\":null,{}", &text[..open], &text[open..]);
            broken.push((format!("{key:?} as {again:?} too"), twice.into_bytes()));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_broken_in_each_way() {
        let good = json!({"a/b": [{"c": 1}], "d": "e"});
        assert_eq!(places(&good), ["/a~1b/0/c", "/a~1b/0", "/a~1b", "/d"]);
        let broken = wrong_values(&good);
        assert!(broken.iter().all(|(_, request)| request != &good));
        for (what, request) in [
            ("/a~1b/0/c is left out", json!({"a/b": [{}], "d": "e"})),
            ("/a~1b/0 is left out", json!({"a/b": [], "d": "e"})),
            ("/d is null", json!({"a/b": [{"c": 1}], "d": null})),
            ("/a~1b/0 has a stranger", json!({"a/b": [{"c": 1, "a_stranger": {"a": [1, "b"]}}], "d": "e"})),
        ] {
            assert_eq!(
                broken.iter().find(|(told, _)| told == what).map(|(_, request)| request),
                Some(&request),
                "{what}"
            );
        }
    }

    #[test]
    fn texts_are_broken_the_same_way_by_the_same_seed() {
        let good = json!({"a": {"b": "c"}});
        let broken = |seed| wrong_bytes(&good, &mut StdRng::seed_from_u64(seed));
        assert_eq!(broken(1), broken(1));
        assert_ne!(broken(1), broken(2));
        let texts: Vec<Vec<u8>> = broken(1).into_iter().map(|(_, text)| text).collect();
        for wanted in
            [r#"{"a":{"b":null,"b":"c"}}"#, r#"{"\u0061":null,"a":{"b":"c"}}"#, r#"{"a":{"b":1e999}}"#, r#"{"a":{"b""#]
        {
            assert!(texts.iter().any(|text| text == wanted.as_bytes()), "{wanted}");
        }
    }
}
