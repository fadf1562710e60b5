//! A scrape of `/metrics`, as Prometheus would read it.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What one scrape showed.
#[derive(Debug)]
pub struct Scrape {
    samples: Vec<Sample>,
    text: String,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Asks over HTTP.
    pub async fn of(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.0 200") && head.contains("text/plain"), "{head}");
        Self::parse(body)
    }

    /// Reads Prometheus's text format (version 0.0.4) strictly.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut samples, mut types, mut helped) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context(line.to_owned())?;
                ensure!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                ensure!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                helped.insert(rest.split_once(' ').context(line.to_owned())?.0.to_owned());
            } else {
                let sample = sample(line).with_context(|| line.to_owned())?;
                let histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|suffix| sample.name.strip_suffix(suffix))
                    .find(|base| types.get(*base).is_some_and(|kind| kind == "histogram"));
                let family = histogram.unwrap_or(&sample.name);
                ensure!(types.contains_key(family) && helped.contains(family), "{line} has no type or help");
                samples.push(sample);
            }
        }
        Ok(Self { samples, text: text.to_owned() })
    }

    /// The sum of a metric's samples that have these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        self.samples.iter().filter(has).map(|sample| sample.value).sum()
    }

    /// A metric's samples, summed up by one of its labels.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name == name) {
            *sums.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_default() += sample.value;
        }
        sums
    }

    /// Is there a sample of this metric?
    pub fn has(&self, name: &str) -> bool {
        let suffixed = |sample: &Sample| sample.name.strip_prefix(name).is_some_and(|rest| rest == "_count");
        self.samples.iter().any(|sample| sample.name == name || suffixed(sample))
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    ensure!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "the name");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").context("a label")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().context("an open label")? {
                    (_, '\\') => match chars.next().context("an open escape")?.1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        c => bail!("escape {c:?}"),
                    },
                    (at, '"') => break at,
                    (_, c) => value.push(c),
                }
            };
            ensure!(labels.insert(label.to_owned(), value).is_none(), "a label twice");
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.trim().parse().context("the value")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        let text = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"\\\\,\\n}\"} 2\na_total{x=\"2\",y=\"\"} 3\n\
            # HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_sum 0.5\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(scrape.value("a_total", &[]), 5.0);
        assert_eq!(scrape.by("a_total", "x"), BTreeMap::from([("1".into(), 2.0), ("2".into(), 3.0)]));
        assert_eq!(scrape.value("a_total", &[("y", "a\"\\,\n}")]), 2.0);
        assert_eq!(scrape.value("h_seconds_bucket", &[("le", "+Inf")]), 1.0);
        for bad in [
            "a_total 1\n",
            "# HELP a A.\n# TYPE a counter\na{x=\"1} 1\n",
            "# TYPE a oddity\n",
            "# HELP a A.\n# TYPE a gauge\na x\n",
        ] {
            assert!(Scrape::parse(bad).is_err(), "{bad}");
        }
    }
}
