//! Whether new flows are translated as the policy states: those of forwarders
//! to their service and behind the host's address, and no others by our rules.

use super::chains::{Goal, is_nat};
use super::compare::{Comparison, Found, Parts};
use super::conditions::Tri;
use super::diagram::{Diagram, Full, NONE};
use super::space::{Case, Journey, Kind, ProtoClass, State, Var};
use super::stated::{Stated, Statement};
use super::witness::Witness;
use super::{Counterexample, CounterexampleKind};
use crate::graph::{self, Hook, NatTarget};
use crate::policy::ServiceForwarder;

/// `RTN_LOCAL` of `linux/rtnetlink.h`
const LOCAL: u128 = 2;

impl Comparison<'_> {
    pub(super) fn translations(
        &mut self,
        parts: &Parts,
        statement: &Statement,
        stated: Stated,
    ) -> Result<Found, Full> {
        let case = parts.case;
        let opens = case.kind == Kind::Flow && !case.reply && !case.snat;
        if !opens || !matches!(case.proto, ProtoClass::Tcp | ProtoClass::Udp) {
            return Ok(Found::Nothing);
        }
        let new = self.d.value(Var::State, State::New.number())?;
        let mut found = Found::Nothing;
        if case.journey == Journey::Across && !self.policy.forward.is_empty() {
            let forwarded = statement.forwarded(&mut self.d, case)?;
            let forwarded = self.d.all_of(&[forwarded, stated.must, new])?;
            let words = "its source is not translated to the address of the host";
            found = self.masquerades(parts, forwarded, words)?;
        }
        if case.dnat || !matches!(found, Found::Nothing) || case.journey == Journey::Out {
            return Ok(found);
        }
        // From here on: as flows are dialled, before any translation.
        let mut listened = NONE;
        for forward in &self.policy.forward {
            let Some((dials, target)) = dials(self, parts, statement, forward)? else {
                continue;
            };
            let dials = self.d.all_of(&[dials, new, parts.universe])?;
            listened = self.d.or(listened, dials)?;
            if case.journey == Journey::Across {
                let found = self.forwarder_listens(parts, dials, &target)?;
                if !matches!(found, Found::Nothing) {
                    return Ok(found);
                }
            }
        }
        let others = self.d.and(stated.must, new)?;
        let others = self.d.without(others, listened)?;
        let bent = self.walk(
            parts,
            case,
            Goal::OwnDnat,
            &[Hook::Prerouting],
            Tri::NONE,
            &is_nat,
        )?;
        let surely = self.d.and(others, bent.must)?;
        let maybe = self.d.and(others, bent.may)?;
        let words = "the air gap translates its destination";
        Ok(self.closed(parts, surely, maybe, words))
    }

    /// What a forwarder sends on leaves with an address of the host's.
    fn masquerades(
        &mut self,
        parts: &Parts,
        forwarded: Diagram,
        words: &str,
    ) -> Result<Found, Full> {
        let done = self.walk(
            parts,
            parts.case,
            Goal::Masquerade,
            &[Hook::Postrouting],
            Tri::NONE,
            &is_nat,
        )?;
        let surely = self.d.without(forwarded, done.may)?;
        let maybe = self.d.without(forwarded, done.must)?;
        Ok(self.closed(parts, surely, maybe, words))
    }

    /// What containers dial where a forwarder listens goes to its service.
    fn forwarder_listens(
        &mut self,
        parts: &Parts,
        dials: Diagram,
        target: &NatTarget,
    ) -> Result<Found, Full> {
        let wanted = graph::Statement::Dnat(target.clone());
        let done = self.walk(
            parts,
            parts.case,
            Goal::Dnat(&wanted),
            &[Hook::Prerouting],
            Tri::NONE,
            &is_nat,
        )?;
        let surely = self.d.without(dials, done.may)?;
        let maybe = self.d.without(dials, done.must)?;
        let words = format!(
            "it is not translated to {}, port {}",
            target.address, target.port
        );
        Ok(self.closed(parts, surely, maybe, &words))
    }

    fn closed(&self, parts: &Parts, surely: Diagram, maybe: Diagram, words: &str) -> Found {
        if surely != NONE {
            let witness = Witness::of(&self.d, parts.case, surely, parts.interfaces);
            return Found::Counterexample(Box::new(Counterexample {
                kind: CounterexampleKind::StatedAndNotOpen,
                flow: witness.flow(parts.interfaces),
                packet: vec![words.to_owned()],
                dropped_by: None,
            }));
        }
        if maybe != NONE {
            return Found::Unknown;
        }
        Found::Nothing
    }
}

/// What the containers of a forwarder dial where it listens, and where that
/// goes; none where it does not listen for packets of the case.
fn dials(
    comparison: &mut Comparison,
    parts: &Parts,
    statement: &Statement,
    forward: &ServiceForwarder,
) -> Result<Option<(Diagram, NatTarget)>, Full> {
    let case = Case {
        // Containers come by an interface either way.
        journey: Journey::Across,
        ..parts.case
    };
    let Some((dialled, target)) = statement.listens(&mut comparison.d, case, forward)? else {
        return Ok(None);
    };
    let d = &mut comparison.d;
    let containers = statement.containers(d, case, forward)?;
    let behind = d.value(Var::SourceBehind, 1)?;
    let local = d.value(Var::DestinationType, LOCAL)?;
    let some = parts.interfaces.numbers(|i| !i.name.is_empty());
    let some = d.values(Var::Iif, super::boxes::merged(some))?;
    let dials = d.all_of(&[dialled, containers, behind, local, some])?;
    Ok(Some((dials, target)))
}
