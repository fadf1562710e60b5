//! How many deliveries go to one endpoint at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts what is under way, by endpoint.
#[derive(Clone, Debug)]
pub struct Lanes {
    at_once: usize,
    busy: Arc<Mutex<HashMap<String, usize>>>,
}

impl Lanes {
    /// So many at once for each endpoint.
    pub fn new(at_once: usize) -> Self {
        Self { at_once, busy: Arc::default() }
    }

    /// A place, until it is dropped. `None`: all are taken.
    pub fn enter(&self, origin: &str) -> Option<Lane> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = busy.entry(origin.to_owned()).or_default();
        if *taken >= self.at_once {
            return None;
        }
        *taken += 1;
        Some(Lane { origin: origin.to_owned(), busy: self.busy.clone() })
    }
}

/// A place among the deliveries to one endpoint.
#[derive(Debug)]
pub struct Lane {
    origin: String,
    busy: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = busy.get_mut(&self.origin) {
            *taken -= 1;
            if *taken == 0 {
                busy.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_leaves_the_others_free() {
        let lanes = Lanes::new(2);
        let (first, _second) = (lanes.enter("a").unwrap(), lanes.enter("a").unwrap());
        assert!(lanes.enter("a").is_none() && lanes.enter("b").is_some());
        drop(first);
        assert!(lanes.enter("a").is_some());
        drop(lanes.clone());
        assert_eq!(lanes.busy.lock().unwrap().len(), 1);
    }
}
