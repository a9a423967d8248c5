//! Takes away from a plan that fails what it fails without.

use std::fmt;

use super::{
    plan::Plan,
    run::{Run, run},
};

/// How a plan differs from the drawn one: which faults are left, by their place in the drawn plan, and
/// which simplifications were made, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The faults that are left; `None` is all.
    pub faults: Option<Vec<usize>>,
    /// Names of simplifications.
    pub simpler: Vec<String>,
}

/// There is no such simplification, or no such fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan has no {0:?} to be changed")]
pub struct NoSuchEdit(pub String);

impl Edits {
    /// The plan that these edits make of `plan`.
    ///
    /// # Errors
    ///
    /// [`NoSuchEdit`] for what `plan` does not have.
    pub fn apply(&self, plan: &Plan) -> Result<Plan, NoSuchEdit> {
        let mut edited = plan.clone();
        for name in &self.simpler {
            let found = SIMPLER.iter().find(|(known, _)| known == name);
            let (_, simplify) = found.ok_or_else(|| NoSuchEdit(name.clone()))?;
            simplify(&mut edited);
        }
        if let Some(faults) = &self.faults {
            let fault = |index: &usize| {
                let fault = plan.faults.get(*index).cloned();
                fault.ok_or_else(|| NoSuchEdit(index.to_string()))
            };
            edited.faults = faults.iter().map(fault).collect::<Result<_, _>>()?;
        }
        Ok(edited)
    }
}

impl fmt::Display for Edits {
    /// As the program `simulate` takes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(faults) = &self.faults {
            let faults: Vec<String> = faults.iter().map(usize::to_string).collect();
            let faults = faults.join(",");
            let faults = if faults.is_empty() { "none" } else { &faults };
            write!(f, "--faults {faults}")?;
            separator = " ";
        }
        if !self.simpler.is_empty() {
            write!(f, "{separator}--simpler {}", self.simpler.join(","))?;
        }
        Ok(())
    }
}

/// The smallest plan that was found, and how it runs.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// How it differs from the plan that was given.
    pub edits: Edits,
    /// The plan.
    pub plan: Plan,
    /// Its run, which still breaks the rule.
    pub run: Run,
    /// Runs that it took.
    pub runs: u32,
}

/// Shrinks `plan`, which has a finding of the name `row`, with at most `budget` runs: fewer faults first (by halves,
/// then one by one), then fewer programs, requests and kinds of requests. `None` if it does not break the
/// rule.
#[must_use]
pub fn shrink(plan: &Plan, row: &str, budget: u32) -> Option<Shrunk> {
    let first = run(plan);
    if !breaks(&first, row) {
        return None;
    }
    let faults = Some((0..plan.faults.len()).collect());
    let best = Shrunk {
        edits: Edits {
            faults,
            simpler: Vec::new(),
        },
        plan: plan.clone(),
        run: first,
        runs: 1,
    };
    let mut search = Search {
        drawn: plan,
        row,
        budget,
        best,
    };
    loop {
        let before = search.best.edits.clone();
        search.fewer_faults();
        for (name, _) in SIMPLER {
            let mut edits = search.best.edits.clone();
            edits.simpler.push((*name).into());
            search.attempt(edits);
        }
        if search.best.edits == before || search.best.runs >= budget {
            return Some(search.best);
        }
    }
}

fn breaks(run: &Run, row: &str) -> bool {
    run.findings.iter().any(|finding| finding.name() == row)
}

struct Search<'a> {
    drawn: &'a Plan,
    row: &'a str,
    budget: u32,
    best: Shrunk,
}

impl Search<'_> {
    fn attempt(&mut self, edits: Edits) -> bool {
        let Ok(plan) = edits.apply(self.drawn) else {
            return false;
        };
        if plan == self.best.plan || self.best.runs >= self.budget {
            return false;
        }
        self.best.runs += 1;
        let run = run(&plan);
        let fails = breaks(&run, self.row);
        if fails {
            self.best.edits = edits;
            self.best.plan = plan;
            self.best.run = run;
        }
        fails
    }

    fn fewer_faults(&mut self) {
        let mut piece = self.best.plan.faults.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < self.best.plan.faults.len() {
                let mut edits = self.best.edits.clone();
                if let Some(faults) = &mut edits.faults {
                    faults.drain(at..(at + piece).min(faults.len()));
                }
                if !self.attempt(edits) {
                    at += piece;
                }
            }
            piece /= 2;
        }
    }
}

/// A simplification: its name, and what it does.
type Simpler = (&'static str, fn(&mut Plan));

const SIMPLER: &[Simpler] = &[
    ("clients/2", |plan| {
        plan.work.clients = plan.work.clients.div_ceil(2)
    }),
    ("requests/2", |plan| {
        plan.work.requests = plan.work.requests.div_ceil(2)
    }),
    ("requests-20%", |plan| {
        plan.work.requests -= plan.work.requests / 5
    }),
    ("hosts=1", |plan| plan.hosts = 1),
    ("units=1", |plan| plan.units.truncate(1)),
    ("dropped=0", |plan| plan.work.dropped = 0),
    ("timed=0", |plan| plan.work.timed = 0),
    ("regions=0", |plan| plan.work.regions = 0),
    ("long=0", |plan| plan.work.long = 0),
    ("flushes=0", |plan| plan.work.flushes = 0),
    ("partial=0", |plan| plan.network.partial_per_mille = 0),
    ("orders=no", |plan| plan.orders = None),
    ("chap=no", |plan| plan.session.chap = false),
    ("header-digest=no", |plan| {
        plan.session.header_digest = false
    }),
    ("data-digest=no", |plan| plan.session.data_digest = false),
    ("ping-every=0", |plan| plan.session.ping_every = 0),
];
