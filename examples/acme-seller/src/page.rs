//! Lists, page by page.

use handoff::prelude::*;
use serde::Deserialize;

/// Which page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Page {
    max_results: usize,
    cursor: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { max_results: 50, cursor: None }
    }
}

impl Page {
    /// The page of a list whose order lasts, and what the protocol says about it. A cursor is the id of the last one shown.
    pub(crate) fn of<'a, T>(&self, all: &'a [T], id: impl Fn(&T) -> &str) -> Result<(&'a [T], Value), AdcpError> {
        let start = match &self.cursor {
            None => 0,
            Some(cursor) => 1 + all.iter().position(|one| id(one) == cursor).ok_or_else(gone)?,
        };
        let end = all.len().min(start + self.max_results.clamp(1, 100));
        let page = &all[start..end];
        let mut pagination = json!({"has_more": end < all.len()});
        if let Some(last) = page.last().filter(|_| end < all.len()) {
            pagination["cursor"] = json!(id(last));
        }
        Ok((page, pagination))
    }
}

fn gone() -> AdcpError {
    AdcpError::correctable("INVALID_REQUEST", "There is no such page.")
        .field("pagination.cursor")
        .suggestion("Take the cursor of the page before, or begin again without one.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all = ["a", "b", "c"];
        let page = |max_results, cursor: Option<&str>| {
            let page = Page { max_results, cursor: cursor.map(str::to_owned) };
            page.of(&all, |one| one).map(|(page, pagination)| (page.to_vec(), pagination))
        };
        let (first, pagination) = page(2, None).unwrap();
        assert_eq!((first, pagination), (vec!["a", "b"], json!({"has_more": true, "cursor": "b"})));
        let (second, pagination) = page(2, Some("b")).unwrap();
        assert_eq!((second, pagination), (vec!["c"], json!({"has_more": false})));
        assert_eq!(page(0, None).unwrap().0, ["a"]);
        assert_eq!(page(2, Some("z")).unwrap_err().field.as_deref(), Some("pagination.cursor"));
    }
}
