//! What a process remembers of the keys that it has seen: whose secret was right, and which were wrong. It
//! holds SHA-256 sums only, never a key or its hash.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a verdict is remembered: a right secret's since its last use, a wrong one's since it was found.
pub const VERDICT_TTL: Duration = Duration::from_secs(60);
/// How many right secrets are remembered.
pub const VERDICTS_MAX: usize = 10_000;
/// How many wrong secrets are remembered; they never push a right one out.
pub const REFUSALS_MAX: usize = 1_000;

/// A SHA-256 sum.
pub(super) type Sum = [u8; 32];

/// What is known of a presented key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its secret belongs to the hash with this sum. Every request compares that with the row's.
    Right(Sum),
    /// It belongs to no row.
    Wrong,
}

/// Verdicts by the sum of the presented key.
#[derive(Default)]
pub(super) struct Verdicts {
    right: Remembered<Sum>,
    wrong: Remembered<()>,
}

impl Verdicts {
    pub(super) fn get(&mut self, key: &Sum, now: Instant) -> Option<Verdict> {
        if let Some(entry) = self.right.get(key, now) {
            // In use, it stays: its holder does not depend on the queue of those who are not known yet.
            entry.until = now + VERDICT_TTL;
            return Some(Verdict::Right(entry.value));
        }
        self.wrong.get(key, now).map(|_| Verdict::Wrong)
    }

    pub(super) fn put(&mut self, key: Sum, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Right(hash) => self.right.put(key, hash, VERDICTS_MAX, now),
            Verdict::Wrong => self.wrong.put(key, (), REFUSALS_MAX, now),
        }
    }

    pub(super) fn forget(&mut self, key: &Sum) {
        self.right.0.remove(key);
    }
}

struct Entry<T> {
    until: Instant,
    value: T,
}

struct Remembered<T>(HashMap<Sum, Entry<T>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Remembered<T> {
    fn get(&mut self, key: &Sum, now: Instant) -> Option<&mut Entry<T>> {
        self.0.get_mut(key).filter(|entry| entry.until > now)
    }

    /// Keeps the value; where there is no room, what has run out goes, and else what would run out first.
    fn put(&mut self, key: Sum, value: T, most: usize, now: Instant) {
        if self.0.len() >= most && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| entry.until > now);
            let first = self.0.iter().min_by_key(|(_, entry)| entry.until);
            if let Some(key) = first.map(|(key, _)| *key).filter(|_| self.0.len() >= most) {
                self.0.remove(&key);
            }
        }
        let until = now + VERDICT_TTL;
        self.0.insert(key, Entry { until, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(number: usize) -> Sum {
        let mut sum = [0; 32];
        sum[..8].copy_from_slice(&number.to_be_bytes());
        sum
    }

    const HASH: Sum = [7; 32];

    #[test]
    fn a_right_secret_is_remembered_for_a_minute_after_its_last_use() {
        let mut verdicts = Verdicts::default();
        let start = Instant::now();
        verdicts.put(sum(1), Verdict::Right(HASH), start);
        let almost = VERDICT_TTL.mul_f64(0.99);
        for step in 1..=5 {
            let now = start + step * almost;
            assert_eq!(verdicts.get(&sum(1), now), Some(Verdict::Right(HASH)));
        }
        let later = start + 5 * almost + VERDICT_TTL;
        assert_eq!(verdicts.get(&sum(1), later), None);
        assert_eq!(verdicts.get(&sum(2), start), None);
    }

    #[test]
    fn a_wrong_secret_is_remembered_for_a_minute_however_often_it_comes() {
        let mut verdicts = Verdicts::default();
        let start = Instant::now();
        verdicts.put(sum(1), Verdict::Wrong, start);
        let now = start + VERDICT_TTL / 2;
        assert_eq!(verdicts.get(&sum(1), now), Some(Verdict::Wrong));
        assert_eq!(verdicts.get(&sum(1), start + VERDICT_TTL), None);
    }

    #[test]
    fn a_forgotten_verdict_is_gone() {
        let mut verdicts = Verdicts::default();
        let now = Instant::now();
        verdicts.put(sum(1), Verdict::Right(HASH), now);
        verdicts.forget(&sum(1));
        assert_eq!(verdicts.get(&sum(1), now), None);
    }

    #[test]
    fn wrong_secrets_push_out_each_other_and_no_right_one() {
        let mut verdicts = Verdicts::default();
        let start = Instant::now();
        verdicts.put(sum(0), Verdict::Right(HASH), start);
        for number in 1..=3 * REFUSALS_MAX {
            let now = start + Duration::from_micros(number as u64);
            verdicts.put(sum(number), Verdict::Wrong, now);
        }
        let now = start + Duration::from_secs(1);
        assert_eq!(verdicts.wrong.0.len(), REFUSALS_MAX);
        assert_eq!(verdicts.get(&sum(1), now), None, "the oldest went");
        assert_eq!(
            verdicts.get(&sum(3 * REFUSALS_MAX), now),
            Some(Verdict::Wrong)
        );
        assert_eq!(verdicts.get(&sum(0), now), Some(Verdict::Right(HASH)));
    }

    #[test]
    fn right_secrets_are_bounded_and_those_out_of_use_go_first() {
        let mut verdicts = Verdicts::default();
        let start = Instant::now();
        for number in 0..VERDICTS_MAX {
            verdicts.put(sum(number), Verdict::Right(HASH), start);
        }
        let later = start + Duration::from_secs(1);
        assert!(verdicts.get(&sum(3), later).is_some(), "in use");
        for number in VERDICTS_MAX..VERDICTS_MAX + 5 {
            verdicts.put(sum(number), Verdict::Right(HASH), later);
        }
        assert_eq!(verdicts.right.0.len(), VERDICTS_MAX);
        assert!(verdicts.get(&sum(3), later).is_some());
        let much_later = start + 2 * VERDICT_TTL;
        verdicts.put(sum(2 * VERDICTS_MAX), Verdict::Right(HASH), much_later);
        assert_eq!(verdicts.right.0.len(), 1, "what has run out goes at once");
    }
}
