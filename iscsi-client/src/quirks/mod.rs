//! What single targets need that others do not: a table, and how it is looked up.
//!
//! A quirk is known by a prefix of the target's name, which is all that is known before the login, or
//! by prefixes of the INQUIRY vendor and product, which a logical unit tells. The table comes with the
//! entries of [`BUILT_IN`]; every one of them can be replaced or removed, and the whole of it switched
//! off ([`QuirkTable::none`]). It is part of the
//! [`SessionOptions`](crate::session::SessionOptions::quirks), so it may differ from session to session.
//!
//! ```
//! use iscsi_client::quirks::{Effects, Quirk, QuirkTable};
//! use std::time::Duration;
//!
//! let mut effects = Effects::default();
//! effects.flush_timeout = Some(Duration::from_secs(300));
//! let table = QuirkTable::default()
//!     .without("lio")
//!     .with(Quirk::new("our-filer", effects).vendor("ACME").product("FILER"));
//! assert_eq!(table.for_unit(None, "ACME", "FILER 9000").flush_timeout, effects.flush_timeout);
//! assert!(!table.for_unit(None, "LIO-ORG", "disk").readiness_is_no_proof);
//! ```
//!
//! # What needs no entry
//!
//! Most of what targets are known for is met by doing the same for all of them:
//!
//! | target | what it needs | what is done for every target |
//! |---|---|---|
//! | LIO before 3.15, Synology DSM | refuses a list of CHAP algorithms | after a refused list MD5 is offered alone, or one algorithm at a time where MD5 is not allowed |
//! | LIO 4.11, QNAP, COMSTAR | a key left out is no default but an error, or zero | every operational key is sent, FirstBurstLength too |
//! | NetApp | a FirstBurstLength beyond MaxBurstLength is refused though unused | it never is |
//! | LIO | warns when the transfer length and the CDB disagree | they are equal |
//! | ctld, FreeNAS | closes when a name is repeated | names are sent once, in the first request |
//! | VNX | takes CRC32C in a discovery session, then drops it | discovery offers no digest |
//! | Synology | may insist on a header digest | `None,CRC32C` is offered |
//! | tgt | a unit attention after every login | it is an event, and the command is repeated |
//! | SCST | asynchronous SCSI events | they are events |
//! | Synology and others | drop what is idle for minutes | a NOP goes out after 5 s of silence |
//! | Huawei | portal group tags such as 8206 | tags have 16 bits |
mod table;

pub use table::BUILT_IN;

use std::{borrow::Cow, time::Duration};

use iscsi_proto::{name::IscsiName, session::SessionConfig};

/// What a quirk changes. `None` and `false` change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// Silence after which a ping is sent, in the place of the default of
    /// [`nop_interval`](iscsi_proto::session::SessionConfig::nop_interval); a value that the caller
    /// has set stays. Of entries that are known by the target's name only.
    pub nop_interval: Option<Duration>,
    /// Silence after a ping that ends the connection, likewise.
    pub nop_timeout: Option<Duration>,
    /// Time for a flush without a timeout of its own, where
    /// [`LogicalUnitOptions::flush_timeout`](crate::logical_unit::LogicalUnitOptions::flush_timeout)
    /// says nothing.
    pub flush_timeout: Option<Duration>,
    /// TEST UNIT READY succeeds though the medium cannot be accessed:
    /// [`LogicalUnit::check`](crate::logical_unit::LogicalUnit::check) reads a block as well.
    pub readiness_is_no_proof: bool,
    /// A unit that was there and is not now (05/25/00) has moved: the session drops its connection,
    /// with all that others have under way on it, and logs in again, which leads to where the unit
    /// is. For as long as it is missing that happens again, at the pace of the session's back-off.
    pub missing_unit_has_moved: bool,
    /// One path at a time: spreading I/O over the paths makes the target hand a lock to and fro.
    /// Advice to whoever has several paths.
    pub one_path_at_a_time: bool,
}

impl Effects {
    const NONE: Self = Self {
        nop_interval: None,
        nop_timeout: None,
        flush_timeout: None,
        readiness_is_no_proof: false,
        missing_unit_has_moved: false,
        one_path_at_a_time: false,
    };

    /// Both together; where they disagree, `other`'s.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            nop_interval: other.nop_interval.or(self.nop_interval),
            nop_timeout: other.nop_timeout.or(self.nop_timeout),
            flush_timeout: other.flush_timeout.or(self.flush_timeout),
            readiness_is_no_proof: self.readiness_is_no_proof || other.readiness_is_no_proof,
            missing_unit_has_moved: self.missing_unit_has_moved || other.missing_unit_has_moved,
            one_path_at_a_time: self.one_path_at_a_time || other.one_path_at_a_time,
        }
    }

    /// Changes what a caller left at its default.
    fn apply(&self, config: &mut SessionConfig) {
        let default = SessionConfig::default();
        if let Some(interval) = self.nop_interval {
            if config.nop_interval == default.nop_interval {
                config.nop_interval = Some(interval);
            }
        }
        if let Some(timeout) = self.nop_timeout {
            if config.nop_timeout == default.nop_timeout {
                config.nop_timeout = timeout;
            }
        }
    }
}

/// One entry: of whom it is true, what it changes, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quirk {
    name: Cow<'static, str>,
    target: Option<Cow<'static, str>>,
    vendor: Option<Cow<'static, str>>,
    product: Option<Cow<'static, str>>,
    effects: Effects,
    source: Cow<'static, str>,
}

impl Quirk {
    /// An entry that is true of every target until it is narrowed.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, effects: Effects) -> Self {
        Self {
            name: name.into(),
            target: None,
            vendor: None,
            product: None,
            effects,
            source: Cow::Borrowed(""),
        }
    }

    /// Only of targets whose name begins so.
    #[must_use]
    pub fn target(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.target = Some(prefix.into());
        self
    }

    /// Only of logical units whose T10 VENDOR IDENTIFICATION begins so.
    #[must_use]
    pub fn vendor(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.vendor = Some(prefix.into());
        self
    }

    /// Only of logical units whose PRODUCT IDENTIFICATION begins so.
    #[must_use]
    pub fn product(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.product = Some(prefix.into());
        self
    }

    /// Who says so.
    #[must_use]
    pub fn because(mut self, source: impl Into<Cow<'static, str>>) -> Self {
        self.source = source.into();
        self
    }

    /// What it is called, to replace or remove it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it changes.
    #[must_use]
    pub const fn effects(&self) -> Effects {
        self.effects
    }

    /// Who says so.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn is_of_target(&self, target: Option<&IscsiName>) -> bool {
        self.target
            .as_deref()
            .is_none_or(|prefix| target.is_some_and(|target| target.as_str().starts_with(prefix)))
    }

    fn is_of_unit(&self, vendor: &str, product: &str) -> bool {
        let begins = |prefix: &Option<Cow<'static, str>>, text: &str| {
            prefix
                .as_deref()
                .is_none_or(|prefix| text.starts_with(prefix))
        };
        begins(&self.vendor, vendor) && begins(&self.product, product)
    }
}

/// All entries that count. The default is [`BUILT_IN`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuirkTable {
    without_built_in: bool,
    removed: Vec<Cow<'static, str>>,
    added: Vec<Quirk>,
}

impl QuirkTable {
    /// No entry at all: every target is treated alike.
    #[must_use]
    pub fn none() -> Self {
        Self {
            without_built_in: true,
            ..Self::default()
        }
    }

    /// Adds an entry, in the place of those of the same name. Where entries disagree, the one that
    /// was added last counts.
    #[must_use]
    pub fn with(mut self, quirk: Quirk) -> Self {
        self = self.without(quirk.name.clone());
        self.added.push(quirk);
        self
    }

    /// Removes the entries of this name; there need not be one.
    #[must_use]
    pub fn without(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        self.added.retain(|quirk| quirk.name != name);
        if !self.removed.contains(&name) {
            self.removed.push(name);
        }
        self
    }

    /// All entries that count, the built-in ones first.
    pub fn entries(&self) -> impl Iterator<Item = &Quirk> {
        let built_in = BUILT_IN
            .iter()
            .filter(|quirk| !self.without_built_in && !self.removed.contains(&quirk.name));
        built_in.chain(&self.added)
    }

    /// What is known of a target before the login: entries that need no logical unit.
    #[must_use]
    pub fn for_target(&self, target: &IscsiName) -> Effects {
        self.sum(|quirk| {
            let of_unit = quirk.vendor.is_some() || quirk.product.is_some();
            !of_unit && quirk.is_of_target(Some(target))
        })
    }

    /// What is known of a logical unit. Vendor and product without their padding.
    #[must_use]
    pub fn for_unit(&self, target: Option<&IscsiName>, vendor: &str, product: &str) -> Effects {
        self.sum(|quirk| quirk.is_of_target(target) && quirk.is_of_unit(vendor, product))
    }

    fn sum(&self, matches: impl Fn(&Quirk) -> bool) -> Effects {
        let matching = self.entries().filter(|quirk| matches(quirk));
        matching.fold(Effects::NONE, |sum, quirk| sum.and(quirk.effects))
    }

    /// Timers for sessions with `target`.
    pub(crate) fn apply(&self, target: &IscsiName, config: &mut SessionConfig) {
        self.for_target(target).apply(config);
    }
}
