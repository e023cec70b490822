//! Mail whose smarthost can't take it goes by another one that the configuration names: when the first is down, frozen
//! or out of quota for more than a minute, and the other one works, is not known to refuse the message ([`Lane::objection`]) and lets it go soon.
//!
//! No more is moved than the other smarthost's limits let go within a minute, what waits there already included: what
//! is moved leaves. So two smarthosts that stand in for each other never hand mail to and fro while both are out of
//! quota.
//!
//! A message that may have arrived already stays where it is: the other smarthost would send a second copy. So does
//! one that is needed to find out whether the first smarthost works again. What was moved goes home when the other one can't
//! take it after all and its own works again, or when the other one is switched off or removed; else it goes on by the next
//! one that its own names and that works ([`Ways`]).
//!
//! [`detour`] tells beforehand what [`Fallback::relieve`] will do, for those who say when a message will go.

use super::connections::Lane;
use super::guests::{self, Mail};
use super::lane_state::{Halt, LaneState};
use super::outgoing;
use super::target::Target;
use super::verdict::Stop;
use crate::message::envelope::Class;
use crate::message::fields::HeaderSection;
use crate::queue::limits::{Mixed, Units};
use crate::queue::{Due, LaneName, Mark, QueueId};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Messages of a lane and class that are tried in one round, and at most moved.
const ROUND: usize = 100;
/// Messages of a lane and class, behind those in memory, of which one round looks whether they were tried.
const PAGE: usize = 2_000;
/// Messages of a lane that are remembered as tried.
const MOST: usize = 100_000;
/// A wait that isn't worth another way.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);
/// By then a smarthost has greeted a probe, mostly.
const GREETED_BY: SignedDuration = SignedDuration::from_secs(30);
/// When those are asked again that said themselves what they don't take: they may say another thing then.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Every smarthost's lane, by name.
pub type Lanes = BTreeMap<String, Arc<Lane>>;

/// Finds other ways, round after round.
#[derive(Debug, Default)]
pub struct Fallback {
    tried: HashMap<LaneName, Tried>,
}

/// Messages of a lane that found no other way.
#[derive(Debug, Default)]
struct Tried {
    /// What the lane and the others were when they were tried: another configuration may accept them.
    targets: Vec<Arc<Target>>,
    /// When each is tried again; those that nobody accepts never are, until the lane flows again.
    again: HashMap<QueueId, Timestamp>,
    /// How far each class was looked through behind what is in memory, as long as that is full of mail that stays.
    marks: [Option<Mark>; 3],
}

/// What was moved to each lane in this round, by class: the queue's own counts don't know of it yet.
#[derive(Debug, Default)]
struct Moved(HashMap<LaneName, [Units; 3]>);

impl Moved {
    fn up_to(&self, lane: &LaneName, class: Class) -> Units {
        let moved = self.0.get(lane).copied().unwrap_or_default();
        let counts = Class::ALL.into_iter().zip(moved).filter(|(each, _)| rank(*each) <= rank(class));
        counts.fold(Units::default(), |sum, (_, units)| sum.plus(units))
    }

    fn add(&mut self, lane: &LaneName, class: Class, units: Units) {
        let moved = self.0.entry(lane.clone()).or_default();
        if let Some(sum) = moved.get_mut(rank(class)) {
            *sum = sum.plus(units);
        }
    }
}

fn rank(class: Class) -> usize {
    Class::ALL.iter().position(|each| *each == class).unwrap_or_default()
}

impl Fallback {
    /// One round over all lanes.
    pub async fn relieve(&mut self, lanes: &Lanes, now: Timestamp) {
        for lane in lanes.values() {
            if send_home(lane, lanes, now).await {
                // What follows goes by the queue's own counts.
                lane.queue().flush().await;
            }
        }
        let mut moved = Moved::default();
        for lane in lanes.values() {
            let Some((why, classes)) = stuck(lane, now) else {
                self.tried.remove(lane.name());
                continue;
            };
            let ways = Ways::of(lane, lanes).await;
            let all = ways.all();
            if all.is_empty() {
                self.tried.remove(lane.name());
                continue;
            }
            let tried = self.tried.entry(lane.name().clone()).or_default();
            tried.follow(std::iter::once(lane).chain(&all).map(|lane| lane.target()).collect());
            let kept = kept_for_probe(lane, now);
            for class in classes {
                let rooms = all.iter().map(|other| room(other, class, moved.up_to(other.name(), class), now));
                let (mut room, mut left) = (rooms.sum::<usize>().min(ROUND), ROUND);
                // What nobody takes now uses up no room.
                while room > 0 && left > 0 {
                    let most = room.min(left);
                    let is_wanted = |due: &Due| {
                        kept != Some(due.id) && !ways.of_message(due).is_empty() && tried.wants(due.id, now)
                    };
                    let mut found = lane.entries().claim_stuck(&[class], most, is_wanted);
                    found.extend(tried.claim_behind(lane, class, most - found.len(), now).await);
                    if found.is_empty() {
                        break;
                    }
                    left -= found.len().min(left);
                    for due in found {
                        match takes(lane, &ways, &due, &moved, now).await {
                            Ok(other) => {
                                room -= 1;
                                moved.add(other.name(), class, Units::message(due.open.len() as u64));
                                hand_over(lane, due, other.name().clone(), &why).await;
                            }
                            Err(again) => {
                                tried.add(due.id, again);
                                lane.unclaim(due);
                            }
                        }
                    }
                }
            }
        }
        if let Some(lane) = lanes.values().next().filter(|_| !moved.0.is_empty()) {
            // The next round goes by the queue's own counts.
            lane.queue().flush().await;
        }
    }
}

async fn hand_over(lane: &Lane, due: Due, to: LaneName, why: &str) {
    lane.events.moved(due.id, lane.name(), &to, why);
    let why = format!("from {} to {to}: {why}", lane.name());
    lane.queue().divert(due, to, why).await;
}

/// What a lane has of others and can't take any more goes back: all of it where the lane has become none, else what lanes that
/// work let go soon. Whether anything did.
async fn send_home(lane: &Lane, lanes: &Lanes, now: Timestamp) -> bool {
    if lane.entries().next_due().is_none() {
        return false;
    }
    let (is_gone, why) = match &*lane.target() {
        target if target.is_removed => (true, format!("{} isn't configured any more", lane.name())),
        target if !target.smarthost.enabled => (true, format!("{} is switched off", lane.name())),
        _ => match stuck(lane, now) {
            Some((why, _)) => (false, why),
            None => return false,
        },
    };
    let homes: Vec<&Arc<Lane>> =
        lanes.values().filter(|home| !home.is_removed() && home.name() != lane.name()).collect();
    let not_searched = |cause| lane.events.not_searched(lane.name(), &cause);
    // Room is found by playing limits through: not for a lane that has nothing of others.
    let names = homes.iter().map(|home| home.name().clone()).collect();
    match lane.queue().has_guests(lane.name(), names).await {
        Ok(true) => {}
        Ok(false) => return false,
        Err(cause) => {
            not_searched(cause);
            return false;
        }
    }
    // At home it is in nobody's way: what goes last there needs no more room than what goes first.
    let room_at =
        |home: &Lane| if is_gone { ROUND } else { room(home, Class::Priority, Units::default(), now) };
    let mut any = false;
    let rooms = homes.into_iter().map(|home| (home, room_at(home).min(ROUND)));
    for (home, room) in rooms.filter(|(_, room)| *room > 0) {
        // By what isn't due nobody finds out whether a home works again.
        let due_by = (!is_gone && !works(home)).then_some(now);
        let guests = match lane.queue().claim_guests(lane.name(), home.name(), due_by, room).await {
            Ok(guests) => guests,
            Err(cause) => {
                not_searched(cause);
                return any;
            }
        };
        let spent = if due_by.is_some() { spent(home, now) } else { Vec::new() };
        for due in guests {
            if spent.contains(&due.class) {
                // It would only wait there.
                lane.unclaim(due);
                continue;
            }
            any = true;
            lane.events.given_back(due.id, lane.name(), home.name(), &why);
            let why = format!("from {} back to {}: {why}", lane.name(), home.name());
            lane.queue().divert(due, home.name().clone(), why).await;
        }
    }
    any
}

impl Tried {
    fn wants(&self, id: QueueId, now: Timestamp) -> bool {
        // One that is further off was put off by a clock that was set back since.
        let is_over = |again: &Timestamp| {
            *again <= now || *again != Timestamp::MAX && again.duration_since(now) > ASK_AGAIN
        };
        self.again.get(&id).is_none_or(is_over)
    }

    fn add(&mut self, id: QueueId, again: Timestamp) {
        if self.again.len() >= MOST {
            self.again.clear();
        }
        self.again.insert(id, again);
    }

    /// Claims mail behind that in memory, on from where the last round was; behind the last of it from the first on.
    async fn claim_behind(&mut self, lane: &Lane, class: Class, room: usize, now: Timestamp) -> Vec<Due> {
        let Some(mark) = self.marks.get(rank(class)).copied().filter(|_| room > 0) else { return Vec::new() };
        let (queue, name) = (lane.queue(), lane.name());
        let claimed = async {
            let page = queue.due_behind(name, class, mark, PAGE).await?;
            let (mut ids, mut seen) = (Vec::new(), None);
            for mark in &page {
                if ids.len() == room {
                    break;
                }
                seen = Some(*mark);
                ids.extend(Some(mark.id()).filter(|id| self.wants(*id, now)));
            }
            let is_last = page.len() < PAGE && seen == page.last().copied();
            if let Some(place) = self.marks.get_mut(rank(class)) {
                *place = seen.filter(|_| !is_last);
            }
            if ids.is_empty() { Ok(Vec::new()) } else { queue.claim_these(name, ids).await }
        };
        claimed.await.unwrap_or_else(|cause| {
            lane.events.not_searched(name, &cause);
            Vec::new()
        })
    }

    fn follow(&mut self, targets: Vec<Arc<Target>>) {
        let same = self.targets.len() == targets.len()
            && self.targets.iter().zip(&targets).all(|(one, other)| Arc::ptr_eq(one, other));
        if !same {
            *self = Self { targets, ..Self::default() };
        }
    }
}

/// The lanes by which what waits in a lane may go on, in order.
struct Ways {
    /// Those that its configuration names.
    own: Vec<Arc<Lane>>,
    /// By whose it is, for what it has of others: those that its home's configuration names come first, this one left out.
    of_guests: BTreeMap<LaneName, Vec<Arc<Lane>>>,
}

impl Ways {
    async fn of(lane: &Lane, lanes: &Lanes) -> Self {
        let own = others(lane, lanes);
        let names =
            |home: &Lane| home.target().smarthost.fallback.iter().any(|name| name == lane.name().as_str());
        // Whose configuration names this one no more may have lent it something before.
        let before: Vec<LaneName> = lanes
            .values()
            .filter(|home| home.name() != lane.name() && !names(home) && !others(home, lanes).is_empty())
            .map(|home| home.name().clone())
            .collect();
        let lent_before =
            !before.is_empty() && lane.queue().has_guests(lane.name(), before.clone()).await.unwrap_or(false);
        let is_home = |home: &&Arc<Lane>| names(home) || lent_before && before.contains(home.name());
        let of_home = |home: &Arc<Lane>| {
            let mut ways = others(home, lanes);
            ways.retain(|way| way.name() != lane.name());
            join(&mut ways, &own);
            (home.name().clone(), ways)
        };
        let of_guests = lanes.values().filter(is_home).map(of_home).collect();
        Self { own, of_guests }
    }

    /// Each once.
    fn all(&self) -> Vec<Arc<Lane>> {
        let mut all = self.own.clone();
        self.of_guests.values().for_each(|ways| join(&mut all, ways));
        all
    }

    fn of_message(&self, due: &Due) -> &[Arc<Lane>] {
        due.home.as_ref().and_then(|home| self.of_guests.get(home)).unwrap_or(&self.own)
    }

    /// Whether a lane that may work again is worth a try. For a guest that is so where the lane it is in names it: what its home names is
    /// found out by what comes home to be tried there, so that it doesn't go to and fro between two that don't work.
    fn may_try(&self, other: &Lane) -> bool {
        self.own.iter().any(|own| own.name() == other.name())
    }
}

/// Adds what isn't there yet.
fn join(ways: &mut Vec<Arc<Lane>>, more: &[Arc<Lane>]) {
    for one in more {
        if !ways.iter().any(|way| way.name() == one.name()) {
            ways.push(one.clone());
        }
    }
}

/// The lanes that a lane's configuration names, in order.
fn others(lane: &Lane, lanes: &Lanes) -> Vec<Arc<Lane>> {
    lane.target().smarthost.fallback.iter().filter_map(|name| lanes.get(name)).cloned().collect()
}

/// Why a lane's mail can't go by it, and which classes can't.
fn stuck(lane: &Lane, now: Timestamp) -> Option<(String, Vec<Class>)> {
    if !lane.target().smarthost.enabled {
        // Switched off, it holds its mail.
        return None;
    }
    let spent = spent(lane, now);
    if let Some(halt) = halt(lane)
        && let Some(why) = fails(lane, &halt)
        && !(needs_probe(&halt, now) && has_probe(lane, &spent))
    {
        return Some((why, Class::ALL.to_vec()));
    }
    (!spent.is_empty()).then(|| (used_up(lane), spent))
}

/// The classes of which a lane's limits let nothing go for longer than is worth waiting for.
fn spent(lane: &Lane, now: Timestamp) -> Vec<Class> {
    let waits = |class: &Class| {
        lane.entries().wait_of(*class).is_some_and(|next| next.duration_since(now) > PATIENCE)
    };
    Class::ALL.into_iter().filter(waits).collect()
}

/// Whether a message may be tried by a lane that doesn't work.
fn needs_probe(halt: &Halt, now: Timestamp) -> bool {
    halt.next_probe <= now && halt.probing.is_none()
}

/// What stays for a probe that is on its way: its smarthost may take its time to greet it, and without a message it tells nothing.
fn kept_for_probe(lane: &Lane, now: Timestamp) -> Option<QueueId> {
    let probe = halt(lane)?.probing?;
    lane.entries().last_due().filter(|_| now.duration_since(probe.since) <= GREETED_BY)
}

/// Whether a message that is due may be tried, where the limits let nothing of the `spent` classes go; while none is
/// due, the next one that comes may.
fn has_probe(lane: &Lane, spent: &[Class]) -> bool {
    let mut due = Class::ALL.into_iter().filter(|class| lane.entries().is_due(*class)).peekable();
    due.peek().is_none() || due.any(|class| !spent.contains(&class))
}

/// Whether a lane can't take mail of some class, now.
#[must_use]
pub fn is_stuck(lane: &Lane, now: Timestamp) -> bool {
    halt(lane).is_some() || stuck(lane, now).is_some()
}

/// Whether something that waits in a lane leaves at another time than the lane's limits alone say.
#[must_use]
pub fn is_overfull(lane: &Lane) -> bool {
    let has_others = !lane.target().smarthost.fallback.is_empty();
    let waiting = |class: Class| lane.queue().waiting_up_to(lane.name(), class);
    halt(lane).is_some()
        || has_others && Class::ALL.iter().any(|class| surplus(lane, *class, waiting(*class)).is_some())
}

/// Why a halt sends mail another way, if it does: one that is over in a moment doesn't.
fn fails(lane: &Lane, halt: &Halt) -> Option<String> {
    (!is_brief(halt)).then(|| format!("{} doesn't work: {}", lane.name(), halt.cause.reply))
}

/// Why a lane's mail goes another way whatever its limits are, if it does.
fn doesnt_work(lane: &Lane) -> Option<String> {
    halt(lane).and_then(|halt| fails(lane, &halt))
}

fn used_up(lane: &Lane) -> String {
    format!("{} has used up its limit", lane.name())
}

/// Why a lane will not take the last of so much mail of a class that waits there, what is in flight included, and what
/// of it will not go by it; none when all of it does, or when the lane is switched off and holds it.
#[must_use]
pub fn surplus(lane: &Lane, class: Class, waiting: Mixed) -> Option<Surplus> {
    if !lane.target().smarthost.enabled {
        return None;
    }
    if let Some(why) = doesnt_work(lane) {
        return Some(Surplus { why, units: waiting, from: None });
    }
    let (units, from) = lane.entries().surplus(class, waiting, PATIENCE)?;
    Some(Surplus { why: used_up(lane), units, from })
}

/// What of a lane's mail will not go by it.
#[derive(Debug)]
pub struct Surplus {
    /// Why not.
    pub why: String,
    /// How much, what goes first included.
    pub units: Mixed,
    /// From when on it may go another way; none: from now on. Until then the lane lets go what it can.
    pub from: Option<Timestamp>,
}

fn halt(lane: &Lane) -> Option<Halt> {
    match lane.state() {
        LaneState::Flowing => None,
        LaneState::Stopped(halt) | LaneState::Frozen(halt) => Some(halt),
    }
}

/// The first of the other lanes that works, accepts the message and lets it go soon; else when to ask again.
async fn takes(
    lane: &Lane,
    ways: &Ways,
    due: &Due,
    moved: &Moved,
    now: Timestamp,
) -> Result<Arc<Lane>, Timestamp> {
    let others = ways.of_message(due);
    if others.is_empty() {
        return Err(Timestamp::MAX);
    }
    let later = now.checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
    let Ok(octets) = outgoing::header_of(lane.queue(), &due.content).await else { return Err(later) };
    let header = HeaderSection::of(&octets);
    let mail = Mail::of(due, &header);
    let accepting: Vec<&Arc<Lane>> = others.iter().filter(|other| other.objection(&mail).is_none()).collect();
    if accepting.is_empty() {
        let is_final =
            others.iter().all(|other| guests::objection(&other.target().smarthost, &mail).is_some());
        let again = now.checked_add(ASK_AGAIN).ok().filter(|_| !is_final);
        return Err(again.unwrap_or(Timestamp::MAX));
    }
    // Out of quota, it waits for the next day at worst. Where the smarthost is down, a part of it is better than none.
    let recipients = if doesnt_work(lane).is_some() { 1 } else { due.open.len() as u64 };
    let has_room = |other: &&&Arc<Lane>| {
        let more = moved.up_to(other.name(), due.class).plus(Units::message(recipients));
        lets_go_soon(other, due.class, more, now)
    };
    // Who works comes before who may.
    let working = accepting.iter().filter(|other| works(other)).find(has_room);
    let trying = || accepting.iter().filter(|other| ways.may_try(other)).find(has_room);
    working.or_else(trying).map(|other| Arc::clone(other)).ok_or(later)
}

/// How many messages to one recipient each a lane lets go soon, beside what waits there and `moved`.
fn room(lane: &Lane, class: Class, moved: Units, now: Timestamp) -> usize {
    let fits = |messages: usize| {
        let messages = messages as u64;
        lets_go_soon(lane, class, moved.plus(Units { messages, recipients: messages }), now)
    };
    let (mut fit, mut over) = (0, ROUND + 1);
    while over - fit > 1 {
        let middle = fit.midpoint(over);
        if fits(middle) { fit = middle } else { over = middle }
    }
    fit
}

/// Whether a lane works and lets so much more mail of a class go soon, behind what waits there already; or whether that is one
/// message by which it could find out whether it works again, where none is due there that its limits let go, but they let this.
#[must_use]
pub fn lets_go_soon(lane: &Lane, class: Class, more: Units, now: Timestamp) -> bool {
    if lane.target().smarthost.enabled
        && let Some(halt) = halt(lane)
    {
        let is_due = lane.entries().next_due().is_some_and(|due| due <= now);
        let has_own = is_due && has_probe(lane, &spent(lane, now));
        let is_probe = more.messages <= 1 && needs_probe(&halt, now) && !has_own;
        return is_probe && gone_by(lane, class, Mixed::of(class, more), now).duration_since(now) <= PATIENCE;
    }
    expected(lane, class, Mixed::of(class, more), now).is_some_and(|at| at.duration_since(now) <= PATIENCE)
}

/// When so much more mail of a class will have left by a lane as things stand; none while it doesn't work.
fn expected(lane: &Lane, class: Class, more: Mixed, now: Timestamp) -> Option<Timestamp> {
    works(lane).then(|| gone_by(lane, class, more, now))
}

/// When the limits will have let so much more mail of a class go, behind what waits there already.
fn gone_by(lane: &Lane, class: Class, more: Mixed, now: Timestamp) -> Timestamp {
    let waiting = lane.queue().waiting_up_to(lane.name(), class).plus(more);
    lane.entries().forecast(class, waiting).unwrap_or(now)
}

fn works(lane: &Lane) -> bool {
    matches!(lane.state(), LaneState::Flowing) && lane.target().smarthost.enabled
}

/// The lanes that may stand in for a lane and are not known to refuse a message, in order.
#[must_use]
pub fn accepting(lane: &Lane, lanes: &Lanes, mail: &Mail<'_>) -> Vec<Arc<Lane>> {
    let mut others = others(lane, lanes);
    others.retain(|other| other.objection(mail).is_none());
    others
}

/// Where and when a message will leave that its own lane can't take; none when its own lane takes it soon, or sooner
/// than the `accepting` ones. `ahead`: what goes before it in its lane, `mail` itself and what is in flight included.
#[must_use]
pub fn detour(
    lane: &Lane,
    accepting: &[Arc<Lane>],
    class: Class,
    ahead: Mixed,
    mail: Units,
    now: Timestamp,
) -> Option<(LaneName, Timestamp)> {
    let Surplus { units, from, .. } = surplus(lane, class, ahead)?;
    let at = |other: &Arc<Lane>| match from {
        Some(from) if works(other) => {
            Some(lane.queue().forecast_later(other.name(), class, from, units.all).unwrap_or(from))
        }
        Some(_) => None,
        None => expected(other, class, units, now),
    };
    let ways = accepting.iter().filter(|other| may_take(lane, other, class, mail));
    let ways: Vec<_> = ways.filter_map(|other| Some((other, at(other)?))).collect();
    let mut way = first_soon(&ways, from.unwrap_or(now))?;
    if from.is_none() && ways.len() > 1 && way.1.duration_since(now) > PATIENCE {
        way = together(&ways, class, units, way.1, now).unwrap_or(way);
    }
    let (other, at) = way;
    let own = halt(lane).map_or_else(|| lane.entries().forecast(class, ahead), |_| Some(Timestamp::MAX));
    own.is_none_or(|own| at < own).then_some((other, at))
}

/// By which other lane mail that is due later leaves and when, as far as anybody knows by now; none when its own lane takes
/// it soon then, or sooner than the `accepting` ones. `own`: when its own lane takes it.
#[must_use]
pub fn detour_later(
    lane: &Lane,
    accepting: &[Arc<Lane>],
    class: Class,
    due: Timestamp,
    own: Timestamp,
    more: Units,
) -> Option<(LaneName, Timestamp)> {
    if doesnt_work(lane).is_none() && own.duration_since(due) <= PATIENCE {
        return None;
    }
    let at = |other: &Arc<Lane>| lane.queue().forecast_later(other.name(), class, due, more).unwrap_or(due);
    let ways = accepting.iter().filter(|other| works(other) && may_take(lane, other, class, more));
    let ways: Vec<_> = ways.map(|other| (other, at(other))).collect();
    first_soon(&ways, due).filter(|(_, at)| *at < own)
}

/// Whether a message is ever moved to another lane by [`takes`], which out of quota wants it to leave there whole.
fn may_take(lane: &Lane, other: &Lane, class: Class, mail: Units) -> bool {
    doesnt_work(lane).is_some() || other.entries().lets_go_whole(class, mail, PATIENCE)
}

/// By which of these ways the last of so much mail leaves, and when, where each takes what it can, and none has all of it gone
/// before `latest`.
fn together(
    ways: &[(&Arc<Lane>, Timestamp)],
    class: Class,
    units: Mixed,
    latest: Timestamp,
    now: Timestamp,
) -> Option<(LaneName, Timestamp)> {
    let messages = units.all.messages;
    let part = |some: u64| Mixed {
        all: units.all.share(some, messages),
        priority: units.priority.share(some.min(units.priority.messages), units.priority.messages),
    };
    // So many messages of it have gone by a way then.
    let gone_by_then = |lane: &Lane, then: Timestamp| {
        let is_gone = |some: u64| some == 0 || gone_by(lane, class, part(some), now) <= then;
        let (mut gone, mut over) = (0, messages + 1);
        while over - gone > 1 {
            let middle = gone.midpoint(over);
            if is_gone(middle) { gone = middle } else { over = middle }
        }
        gone
    };
    // The way by which the last goes, if all have gone then.
    let last = |then: Timestamp| {
        let mut left = messages;
        ways.iter().find_map(|(lane, _)| {
            left = left.saturating_sub(gone_by_then(lane, then));
            (left == 0).then(|| lane.name().clone())
        })
    };
    let after = |seconds: i64| now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(latest);
    let (mut early, mut late) = (-1, latest.duration_since(now).as_secs() + 1);
    // As near as a second, or a fiftieth of a long wait: each look plays the limits through.
    while late - early > (late / 50).max(1) {
        let middle = early.midpoint(late);
        if last(after(middle)).is_some() { late = middle } else { early = middle }
    }
    let at = after(late);
    last(at).map(|way| (way, at))
}

/// The first of these ways that is open soon, or else the one that is open first.
fn first_soon(ways: &[(&Arc<Lane>, Timestamp)], now: Timestamp) -> Option<(LaneName, Timestamp)> {
    let soon = ways.iter().find(|(_, at)| at.duration_since(now) <= PATIENCE);
    let (other, at) = soon.or_else(|| ways.iter().min_by_key(|(_, at)| *at))?;
    Some((other.name().clone(), *at))
}

/// What a smarthost said that its account has used up its provider's limit, while that stops the lane.
#[must_use]
pub fn quota_refusal(lane: &Lane) -> Option<String> {
    halt(lane).filter(|halt| halt.stop == Stop::Quota).map(|halt| halt.cause.reply.to_string())
}

/// When a lane that doesn't work is tried next: nothing leaves by it sooner.
#[must_use]
pub fn next_probe(lane: &Lane) -> Option<Timestamp> {
    halt(lane).filter(|_| lane.target().smarthost.enabled).map(|halt| halt.next_probe)
}

/// Whether a halt is likely to be over in a moment: that of a busy smarthost, or by a fault of ours, until it has lasted.
fn is_brief(halt: &Halt) -> bool {
    match halt.stop {
        Stop::Busy | Stop::Local => halt.next_probe.duration_since(halt.since) <= PATIENCE,
        Stop::Down | Stop::Tls | Stop::Login | Stop::LoginLater | Stop::Quota | Stop::Policy => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::schema::LogAddresses;
    use crate::deliver::lane_state::Permit;
    use crate::deliver::route::Router;
    use crate::deliver::verdict::{Cause, Fault, Stage};
    use crate::events::Events;
    use crate::queue::testing::{Hand, settings, submission};
    use crate::queue::{Filter, Queue};
    use crate::smtp::address::Address;
    use crate::smtp::reply::Reply;
    use std::path::Path;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    /// Two smarthosts that nobody asks anything, the second of which stands in for the first.
    struct Two {
        hand: Hand,
        queue: Queue,
        lanes: Lanes,
        fallback: Fallback,
    }

    impl Two {
        fn with(state: &Path, shop: &str, sol: &str) -> Self {
            let hand = Hand::at(1_795_000_000);
            let queue = Queue::open(settings(state), hand.clock()).unwrap();
            let of = |name: &str, lines: &str| {
                format!("[smarthost.{name}]\nhost = \"mx.test\"\ntls = \"none\"\n{lines}\n")
            };
            let first = of("shop", &format!("default = true\nfallback = [\"sol\"]\n{shop}"));
            let text = first + &of("sol", sol);
            let config = config::parse(Path::new("w.toml"), &text, std::iter::empty()).unwrap().config;
            let router = Arc::new(Router::new(vec![], config.applications, config.default_smarthost));
            let lane = |(name, smarthost)| {
                let target = Target::new(smarthost, "relay.test", config.retry.clone(), router.clone());
                let (events, tracker) = (Events::new(LogAddresses::Full), TaskTracker::new());
                let daemon = CancellationToken::new();
                (name, Lane::new(queue.clone(), target, hand.clock(), events, tracker, &daemon))
            };
            let lanes = config.smarthosts.into_iter().map(lane).collect();
            Self { hand, queue, lanes, fallback: Fallback::default() }
        }

        /// So much was sent that anybody may send.
        async fn sent(&self, lane: &str, messages: usize) {
            for _ in 0..messages {
                assert!(self.queue.charge(&lane.into()).await.unwrap());
                self.queue.landed(lane.into());
            }
            self.queue.flush().await;
        }

        async fn keep(&self, lane: &str, recipients: &[&str]) {
            let mut draft = self.queue.draft();
            draft.write(b"From: from@a.example\r\n\r\nhello\r\n").await.unwrap();
            let _ = self.queue.keep(draft, submission(lane, recipients)).await.unwrap();
        }

        fn goes_down(&self, lane: &str) {
            self.lanes[lane].halt(Stop::Down, &cause());
        }

        /// What a round over all lanes does, as the lanes in which the messages are then.
        async fn round(&mut self) -> Vec<String> {
            self.fallback.relieve(&self.lanes, self.hand.now()).await;
            self.queue.flush().await;
            let entries = self.queue.query(Filter::default(), 1_000, None).await.unwrap();
            entries.iter().map(|entry| entry.lane.to_string()).collect()
        }
    }

    fn cause() -> Cause {
        Cause {
            reply: Reply::new(451, None, "down"),
            from_peer: true,
            stage: Stage::Greeting,
            fault: Fault::Smarthost,
            advice: None,
            would_stop: false,
        }
    }

    #[tokio::test]
    async fn a_probe_that_the_limits_do_not_let_go_keeps_no_mail_from_the_fallback() {
        for (sent, is_due, place) in
            [(0, false, "sol"), (0, true, "shop"), (3, false, "sol"), (3, true, "sol")]
        {
            let state = tempfile::tempdir().unwrap();
            let mut two = Two::with(state.path(), "per_day = 5\npriority_reserve = 2", "");
            two.sent("shop", sent).await;
            two.goes_down("shop");
            two.hand.turn(if is_due { 31 } else { 1 });
            two.keep("shop", &["ana@guest.test"]).await;
            assert_eq!(two.round().await, [place], "{sent} sent, the probe is due: {is_due}");
        }
    }

    #[tokio::test]
    async fn what_waits_at_a_fallback_goes_home_when_its_settings_take_it_no_more() {
        let refuses = "allowed_from = [\"@ok.test\"]\nfrom = \"keep\"";
        for (sol, shop_is_enabled, stays) in
            [("", true, true), (refuses, true, false), (refuses, false, true)]
        {
            let state = tempfile::tempdir().unwrap();
            let mut two = Two::with(state.path(), "", sol);
            let (shop, sol) = (two.lanes["shop"].clone(), two.lanes["sol"].clone());
            two.keep("shop", &["ana@guest.test"]).await;
            let due = shop.entries().claim_stuck(&Class::ALL, 1, |_| true).remove(0);
            two.queue.divert(due, "sol".into(), "from shop to sol".into()).await;
            two.queue.flush().await;
            let id = two.queue.query(Filter::default(), 1, None).await.unwrap()[0].id;
            let due = two.queue.claim_these(sol.name(), vec![id]).await.unwrap().remove(0);
            let knows = BTreeMap::from([("shop".into(), shop_is_enabled), ("sol".into(), true)]);
            let config = &sol.target();
            let router = Arc::new(Router::new(vec![], BTreeMap::new(), String::new()));
            let target = Target::new(config.smarthost.clone(), "relay.test", config.retry.clone(), router);
            let kept = sol.unless_unwanted(due, &target.beside(Arc::new(knows))).await;
            assert_eq!(kept.is_some(), stays);
            if let Some(due) = kept {
                sol.unclaim(due);
            }
            assert_eq!(two.round().await, [if stays { "sol" } else { "shop" }]);
        }
    }

    #[tokio::test]
    async fn what_was_lent_to_one_that_is_no_fallback_any_more_goes_on_by_the_one_that_is() {
        let state = tempfile::tempdir().unwrap();
        let luna = "[smarthost.luna]\nhost = \"mx.test\"\ntls = \"none\"";
        let mut two = Two::with(state.path(), "", luna);
        two.keep("shop", &["ana@guest.test"]).await;
        two.keep("luna", &["ana@guest.test"]).await;
        let due = two.lanes["shop"].entries().claim_stuck(&Class::ALL, 1, |_| true).remove(0);
        two.queue.divert(due, "luna".into(), "from shop to luna".into()).await;
        two.queue.flush().await;
        two.goes_down("luna");
        two.goes_down("shop");
        // What is in memory is read beside the rounds.
        for _ in 0..1_000 {
            let mut places = two.round().await;
            places.sort();
            if places == ["luna", "sol"] {
                return;
            }
        }
        panic!("{:?}", two.round().await);
    }

    #[tokio::test]
    async fn what_goes_home_to_be_tried_there_is_due() {
        let state = tempfile::tempdir().unwrap();
        let mut two = Two::with(state.path(), "", "");
        for seconds in [480, 0, 0] {
            let mut mail = submission("shop", &["ana@guest.test"]);
            mail.parts[0].due = two.hand.now() + SignedDuration::from_secs(seconds);
            let mut draft = two.queue.draft();
            draft.write(b"From: from@a.example\r\n\r\nhello\r\n").await.unwrap();
            let kept = two.queue.keep(draft, mail).await.unwrap().remove(0);
            let due = two.queue.claim_these(&"shop".into(), vec![kept.id()]).await.unwrap().remove(0);
            two.queue.divert(due, "sol".into(), "from shop to sol".into()).await;
        }
        two.queue.flush().await;
        two.goes_down("shop");
        two.hand.turn(31);
        two.goes_down("sol");
        assert_eq!(two.round().await, ["sol", "shop", "sol"], "one is tried");
        let _ = two.lanes["shop"].state.lock().succeeded();
        assert_eq!(two.round().await, ["shop"; 3]);
    }

    #[tokio::test]
    async fn two_fallbacks_share_what_one_alone_takes_long_for() {
        for (messages, way, minutes) in [(5, "sol", 0), (12, "luna", 0), (13, "luna", 60), (17, "luna", 60)] {
            let state = tempfile::tempdir().unwrap();
            let luna = "per_hour = 5\n[smarthost.luna]\nhost = \"mx.test\"\ntls = \"none\"\nper_hour = 7";
            let two = Two::with(state.path(), "", luna);
            two.goes_down("shop");
            for _ in 0..messages {
                two.keep("shop", &["ana@guest.test"]).await;
            }
            let others = ["sol", "luna"].map(|name| two.lanes[name].clone());
            let ahead = two.queue.waiting_up_to(&"shop".into(), Class::Normal);
            let now = two.hand.now();
            let told = detour(&two.lanes["shop"], &others, Class::Normal, ahead, Units::message(1), now);
            let (lane, at) = told.unwrap();
            assert_eq!((lane.as_str(), at.duration_since(now).as_secs() / 60), (way, minutes), "{messages}");
        }
    }

    #[tokio::test]
    async fn a_probe_on_its_way_finds_a_message_when_it_comes_there() {
        let state = tempfile::tempdir().unwrap();
        let mut two = Two::with(state.path(), "", "");
        two.goes_down("shop");
        two.hand.turn(31);
        let shop = two.lanes["shop"].clone();
        assert_eq!(shop.state.lock().ask(two.hand.now(), 1), Permit::Probe);
        for _ in 0..3 {
            two.keep("shop", &["ana@guest.test"]).await;
        }
        assert_eq!(two.round().await, ["sol", "sol", "shop"]);
        two.hand.turn(30);
        assert_eq!(two.round().await, ["sol", "sol", "shop"]);
        two.hand.turn(1);
        assert_eq!(two.round().await, ["sol"; 3], "it hangs");
    }

    #[tokio::test]
    async fn what_a_fallback_sends_later_is_no_probe_of_it_now() {
        for (sent, due, lends) in [
            (0, None, true),
            (0, Some(3_600), true),
            (0, Some(0), false),
            // Its own waits for the day's end, but not mail of class priority.
            (3, Some(0), true),
        ] {
            let state = tempfile::tempdir().unwrap();
            let two = Two::with(state.path(), "", "per_day = 5\npriority_reserve = 2");
            two.sent("sol", sent).await;
            two.goes_down("sol");
            two.hand.turn(31);
            if let Some(seconds) = due {
                let mut mail = submission("sol", &["ana@guest.test"]);
                mail.parts[0].due = two.hand.now() + SignedDuration::from_secs(seconds);
                let _ = two.queue.keep(two.queue.draft(), mail).await.unwrap();
            }
            let class = if sent > 0 { Class::Priority } else { Class::Normal };
            let lent = lets_go_soon(&two.lanes["sol"], class, Units::message(1), two.hand.now());
            assert_eq!(lent, lends, "{sent} {due:?}");
        }
    }

    #[tokio::test]
    async fn what_goes_first_goes_first_by_the_fallback_too() {
        for (limits, sent) in [("", 0), ("per_hour = 1", 1)] {
            let state = tempfile::tempdir().unwrap();
            let two = Two::with(state.path(), limits, "per_minute = 4");
            two.sent("shop", sent).await;
            if sent == 0 {
                two.goes_down("shop");
            }
            for class in [vec![Class::Priority; 8], vec![Class::Normal]].concat() {
                let mut mail = submission("shop", &["ana@guest.test"]);
                mail.parts[0].class = class;
                let mut draft = two.queue.draft();
                draft.write(b"From: from@a.example\r\n\r\nhello\r\n").await.unwrap();
                let _ = two.queue.keep(draft, mail).await.unwrap();
            }
            let (shop, others) = (&two.lanes["shop"], [two.lanes["sol"].clone()]);
            let told = [Class::Priority, Class::Normal].map(|class| {
                let ahead = two.queue.waiting_up_to(shop.name(), class);
                let way = detour(shop, &others, class, ahead, Units::message(1), two.hand.now());
                way.unwrap().1.duration_since(two.hand.now()).as_secs() / 60
            });
            assert_eq!(told, [1, 2], "{limits:?}");
        }
    }

    #[tokio::test]
    async fn the_next_try_that_is_told_is_one_that_the_limits_let_go() {
        let (all, part) = ("per_day = 3", "per_day = 5\npriority_reserve = 2");
        for (limits, sent, is_due, told) in [
            (part, 0, true, 30),
            (part, 3, true, 86_400),
            (part, 3, false, 30),
            (all, 3, true, 86_400),
            (all, 3, false, 86_400),
        ] {
            let state = tempfile::tempdir().unwrap();
            let two = Two::with(state.path(), limits, "");
            let start = two.hand.now();
            two.sent("shop", sent).await;
            if is_due {
                two.keep("shop", &["ana@guest.test"]).await;
            }
            two.goes_down("shop");
            two.hand.turn(90);
            let next: Timestamp = two.lanes["shop"].status().next_probe.unwrap().parse().unwrap();
            assert_eq!(next.duration_since(start).as_secs(), told, "{limits}, due: {is_due}");
        }
    }

    #[tokio::test]
    async fn mail_that_no_fallback_accepts_hides_none_behind_it() {
        let state = tempfile::tempdir().unwrap();
        let accepts = "from = \"keep\"\nallowed_from = [\"@ok.test\"]";
        let mut two = Two::with(state.path(), "per_hour = 1", accepts);
        two.sent("shop", 1).await;
        // So many lanes that each has little in memory.
        let _others: Vec<_> =
            (0..600).map(|n| two.queue.lane(&format!("lane-{n}").as_str().into())).collect();
        for address in ["from@a.example", "from@ok.test", "from@a.example", "from@ok.test"] {
            let mut mail = submission("shop", &["ana@guest.test"]);
            mail.envelope.sender = Some(Address::parse(address, false).unwrap());
            mail.parts = vec![mail.parts[0].clone(); if address == "from@a.example" { 150 } else { 1 }];
            let mut draft = two.queue.draft();
            draft.write(format!("From: {address}\r\n\r\nhello\r\n").as_bytes()).await.unwrap();
            let _ = two.queue.keep(draft, mail).await.unwrap();
        }
        let mut places = Vec::new();
        // What is in memory is read beside the rounds.
        for _ in 0..1_000 {
            let lanes = two.round().await;
            places = ["shop", "sol"].map(|name| lanes.iter().filter(|lane| *lane == name).count()).to_vec();
            if places == [300, 2] {
                return;
            }
        }
        panic!("{places:?}");
    }

    #[tokio::test]
    async fn of_a_message_to_more_than_the_fallback_takes_at_a_time_it_is_not_told_that_it_goes_there() {
        for (sol, recipients, is_moved) in [
            ("per_minute = 3", 3, true),
            ("per_minute = 3", 7, false),
            ("per_hour = 3", 3, true),
            ("per_hour = 3", 4, false),
            ("per_hour = 3\ncount = \"messages\"", 4, true),
        ] {
            let state = tempfile::tempdir().unwrap();
            let mut two = Two::with(state.path(), "per_hour = 1", sol);
            two.sent("shop", 1).await;
            two.keep("shop", &vec!["ana@guest.test"; recipients]).await;
            let (shop, others) = (&two.lanes["shop"], [two.lanes["sol"].clone()]);
            let (now, mail) = (two.hand.now(), Units::message(recipients as u64));
            let ahead = two.queue.waiting_up_to(shop.name(), Class::Normal);
            let detour = detour(shop, &others, Class::Normal, ahead, mail, now);
            let (due, own) = (now + PATIENCE, now + PATIENCE * 60);
            let later = detour_later(shop, &others, Class::Normal, due, own, mail);
            let told = [detour, later].map(|way| way.is_some());
            assert_eq!(
                (two.round().await[0] == "sol", told),
                (is_moved, [is_moved; 2]),
                "{sol} {recipients}"
            );
        }
    }

    #[tokio::test]
    async fn a_fallback_that_is_down_and_out_of_quota_gets_no_probe_and_gives_back_what_it_has() {
        for (sent, lends, place) in [(0, true, "sol"), (1, false, "shop")] {
            let state = tempfile::tempdir().unwrap();
            let mut two = Two::with(state.path(), "", "per_hour = 1");
            two.sent("sol", sent).await;
            two.goes_down("sol");
            two.hand.turn(31);
            let lent = lets_go_soon(&two.lanes["sol"], Class::Normal, Units::message(1), two.hand.now());
            assert_eq!(lent, lends, "{sent} sent");
            two.keep("shop", &["ana@guest.test"]).await;
            let due = two.lanes["shop"].entries().claim_stuck(&Class::ALL, 1, |_| true).remove(0);
            two.queue.divert(due, "sol".into(), "from shop to sol".into()).await;
            two.queue.flush().await;
            assert_eq!(two.round().await, [place], "{sent} sent");
        }
    }

    #[test]
    fn who_has_been_busy_for_long_is_as_good_as_down() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let halt = |stop, next_probe| Halt {
            since: at(100),
            stop,
            cause: cause(),
            next_probe: at(next_probe),
            probes: 0,
            probing: None,
            look: None,
        };
        for (stop, next_probe, brief) in [
            (Stop::Busy, 105, true),
            (Stop::Busy, 160, true),
            (Stop::Busy, 161, false),
            (Stop::Local, 160, true),
            (Stop::Local, 500, false),
            (Stop::Down, 105, false),
        ] {
            assert_eq!(is_brief(&halt(stop, next_probe)), brief, "{stop:?} {next_probe}");
        }
    }
}
