//! The CAs that the replicas of a server share, as one Secret holds them.
//!
//! ```text
//!  time ──────────────────────────────────────────────────────────────▶
//!  CA 1  ├ signs ─────────────────────────────┤ trusted on ──┤ dropped
//!  CA 2                    ├ trusted ─────────┤ signs ────────────────
//!                          │                  │              └ the last leaf of CA 1 has ended
//!                          │                  └ an overlap later, and in every caBundle
//!                          └ two thirds of CA 1's life are over
//! ```
//!
//! Each step follows from the certificates' own dates and the wall clock, so replicas agree without talking, and whoever looks
//! first writes. Nothing here reads a clock or a Secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Error;
use super::issue::{self, Ca};

/// The longest time between trusting a CA and signing with it: an API server hears of a new caBundle within seconds.
const LONGEST_OVERLAP: Duration = Duration::from_hours(1);
/// The key under which the Secret shows everything that is to be trusted.
const BUNDLE: &str = "ca.crt";

/// How long certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub(crate) ca: Duration,
    pub(crate) leaf: Duration,
}

impl Lifetimes {
    /// How long a CA is trusted before it signs.
    pub(crate) fn overlap(self) -> Duration {
        (self.leaf / 3).min(LONGEST_OVERLAP)
    }
}

/// Some CAs, oldest first, by number; never none.
#[derive(Debug, Clone)]
pub(crate) struct Authorities(BTreeMap<u64, Arc<Ca>>);

impl Authorities {
    /// One new CA.
    pub(crate) fn issue(now: SystemTime, lifetimes: Lifetimes) -> Result<Self, Error> {
        let ca = Ca::issue(now, lifetimes.ca)?;
        Ok(Self([(1, ca.into())].into()))
    }

    /// Out of a Secret's data: `ca-<number>.crt` and `ca-<number>.key`.
    pub(crate) fn read<T: AsRef<[u8]>>(data: &BTreeMap<String, T>) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for name in data.keys() {
            let Some(number) = name
                .strip_prefix("ca-")
                .and_then(|rest| rest.strip_suffix(".crt"))
                .and_then(|number| number.parse().ok())
            else {
                continue;
            };
            let ca = read(data, number).map_err(|error| Error::Content {
                path: format!("ca-{number}"),
                problem: format!("{:#}", anyhow::Error::from(error)),
            })?;
            found.insert(number, Arc::new(ca));
        }
        if found.is_empty() {
            return Err(Error::Content {
                path: "data".to_owned(),
                problem: "expected `ca-1.crt` and `ca-1.key`, found neither".to_owned(),
            });
        }
        Ok(Self(found))
    }

    /// As the Secret's data.
    pub(crate) fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data: BTreeMap<String, Vec<u8>> =
            [(BUNDLE.to_owned(), self.bundle().into())].into();
        for (number, ca) in &self.0 {
            data.insert(format!("ca-{number}.crt"), ca.pem.clone().into());
            data.insert(format!("ca-{number}.key"), ca.key_pem().into());
        }
        data
    }

    /// Everything that is to be trusted, in PEM.
    pub(crate) fn bundle(&self) -> String {
        self.0.values().map(|ca| ca.pem.as_str()).collect()
    }

    /// What there should be instead, if it is time for a change: a new CA, or an old one less.
    pub(crate) fn plan(
        &self,
        now: SystemTime,
        lifetimes: Lifetimes,
    ) -> Result<Option<Self>, Error> {
        let mut planned = self.0.clone();
        let newest = self.0.last_key_value();
        if newest.is_none_or(|(_, ca)| issue::is_due(ca.since, ca.until, now)) {
            let number = newest.map_or(1, |(number, _)| number + 1);
            planned.insert(number, Ca::issue(now, lifetimes.ca)?.into());
        }
        // A replica that switched late signed its last leaf of the old CA an overlap late at most.
        let settled = lifetimes.overlap() * 2 + lifetimes.leaf;
        let successor = planned
            .iter()
            .rev()
            .find(|(_, ca)| ca.since + settled <= now)
            .map(|(number, _)| *number);
        planned.retain(|number, ca| {
            ca.until > now && successor.is_none_or(|successor| *number >= successor)
        });
        let unchanged = planned.keys().eq(self.0.keys());
        Ok((!unchanged).then_some(Self(planned)))
    }

    /// Who signs now: the newest that has been trusted for an overlap and is in `published`, else the oldest that is valid.
    pub(super) fn signer(
        &self,
        now: SystemTime,
        lifetimes: Lifetimes,
        published: &str,
    ) -> Option<&Arc<Ca>> {
        let valid = || self.0.values().filter(|ca| ca.until > now);
        valid()
            .rev()
            .find(|ca| ca.since + lifetimes.overlap() <= now && published.contains(&ca.pem))
            .or_else(|| valid().next())
            .or_else(|| self.0.values().next_back())
    }
}

fn read<T: AsRef<[u8]>>(data: &BTreeMap<String, T>, number: u64) -> Result<Ca, Error> {
    let text = |end: &str| {
        let name = format!("ca-{number}.{end}");
        data.get(&name)
            .and_then(|bytes| std::str::from_utf8(bytes.as_ref()).ok())
            .ok_or_else(|| Error::Content {
                path: name,
                problem: "expected PEM, found nothing of the kind".to_owned(),
            })
    };
    Ca::read(text("crt")?.to_owned(), text("key")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Lifetimes = Lifetimes {
        ca: Duration::from_mins(15),
        leaf: Duration::from_secs(90),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn numbers(authorities: &Authorities) -> Vec<u64> {
        authorities.0.keys().copied().collect()
    }

    fn number(authorities: &Authorities, ca: &Ca) -> u64 {
        let is = |(number, other): (&u64, &Arc<Ca>)| (other.pem == ca.pem).then_some(*number);
        authorities.0.iter().find_map(is).unwrap()
    }

    /// The whole picture above, walked second by second.
    #[test]
    fn a_ca_is_trusted_then_signs_then_is_trusted_then_goes() {
        let start = SystemTime::now();
        let mut authorities = Authorities::issue(start, LIVES).unwrap();
        let mut steps = Vec::new();
        let mut before = (vec![], 0);
        for second in 0..1300 {
            let now = start + seconds(second);
            if let Some(planned) = authorities.plan(now, LIVES).unwrap() {
                // A plan is done with one write.
                assert!(planned.plan(now, LIVES).unwrap().is_none());
                authorities = planned;
            }
            let published = authorities.bundle();
            let ca = authorities.signer(now, LIVES, &published).unwrap();
            assert!(ca.until > now + LIVES.leaf, "a leaf is never cut short");
            let state = (numbers(&authorities), number(&authorities, ca));
            if state != before {
                steps.push((second, state.0.clone(), state.1));
                before = state;
            }
        }
        assert_eq!(
            steps,
            [
                (0, vec![1], 1),
                (600, vec![1, 2], 1),
                (630, vec![1, 2], 2),
                (750, vec![2], 2),
                (1200, vec![2, 3], 2),
                (1230, vec![2, 3], 3),
            ]
        );
    }

    #[test]
    fn nobody_signs_with_what_no_api_server_trusts() {
        let start = SystemTime::now();
        let first = Authorities::issue(start, LIVES).unwrap();
        let both = first.plan(start + seconds(600), LIVES).unwrap().unwrap();
        let late = start + seconds(700);
        let signer = |published: &str| number(&both, both.signer(late, LIVES, published).unwrap());
        assert_eq!(signer(&first.bundle()), 1);
        assert_eq!(signer(&both.bundle()), 2);
        assert_eq!(signer(""), 1);
    }

    #[test]
    fn what_slept_through_its_end_starts_anew() {
        let start = SystemTime::now();
        let first = Authorities::issue(start, LIVES).unwrap();
        let planned = first.plan(start + seconds(5000), LIVES).unwrap().unwrap();
        assert_eq!(numbers(&planned), [2]);
    }

    #[test]
    fn a_secret_holds_it_all() {
        let now = SystemTime::now();
        let first = Authorities::issue(now, LIVES).unwrap();
        let both = first.plan(now + seconds(600), LIVES).unwrap().unwrap();
        let mut data = both.data();
        assert_eq!(
            data.keys().collect::<Vec<_>>(),
            ["ca-1.crt", "ca-1.key", "ca-2.crt", "ca-2.key", "ca.crt"]
        );
        assert_eq!(Authorities::read(&data).unwrap().bundle(), both.bundle());
        data.insert("ca-1.key".to_owned(), data["ca-2.key"].clone());
        assert_eq!(
            Authorities::read(&data).unwrap_err().to_string(),
            "ca-1: the CA: certificate and key are no pair"
        );
        data.remove("ca-1.key");
        assert_eq!(
            Authorities::read(&data).unwrap_err().to_string(),
            "ca-1: ca-1.key: expected PEM, found nothing of the kind"
        );
        let nothing = BTreeMap::<String, Vec<u8>>::new();
        assert_eq!(
            Authorities::read(&nothing).unwrap_err().to_string(),
            "data: expected `ca-1.crt` and `ca-1.key`, found neither"
        );
    }
}
