//! Consumer groups: who is a member, and which partitions are whose.
//!
//! Membership lives as long as the connection and is not stored. Two ways of sharing out, see
//! [`Rebalance`](super::Rebalance).

use std::collections::HashMap;

use super::Rebalance;

/// A partition on its way from one member to another.
#[derive(Debug, Clone)]
struct HandOver {
    partition: u32,
    /// The client that gets it.
    to: u32,
    since: u64,
}

/// A client in a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: u32,
    pub(super) client: u32,
    pub(super) partitions: Vec<u32>,
    /// Where its next poll begins to look.
    cursor: usize,
    leaving: Vec<HandOver>,
}

/// A consumer group of one topic.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) members: Vec<Member>,
    partitions: u32,
    next_member: u32,
    rebalance: Rebalance,
    /// The last offset handed out of each partition to its present owner.
    polled: HashMap<u32, u64>,
}

impl Group {
    pub(super) fn new(id: u32, name: String, partitions: u32, rebalance: Rebalance) -> Self {
        Self {
            id,
            name,
            members: Vec::new(),
            partitions,
            next_member: 1,
            rebalance,
            polled: HashMap::new(),
        }
    }

    /// Makes the client a member; nothing happens if it is one. `stored` gives the group's offset on a partition.
    pub(super) fn join(&mut self, client: u32, now: u64, stored: impl Fn(u32) -> Option<u64>) {
        if self.member(client).is_some() {
            return;
        }
        let member = Member {
            id: self.next_member,
            client,
            partitions: Vec::new(),
            cursor: 0,
            leaving: Vec::new(),
        };
        self.next_member += 1;
        self.members.push(member);
        match self.rebalance {
            Rebalance::Immediate => self.share_evenly(),
            Rebalance::Cooperative { .. } => {
                self.make_room(now);
                self.settle(now, stored);
            }
        }
    }

    /// Takes the client out; says whether it was a member.
    pub(super) fn leave(&mut self, client: u32) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.client != client);
        if self.members.len() == before {
            return false;
        }
        self.share_anew();
        true
    }

    /// The topic has another number of partitions.
    pub(super) fn resize(&mut self, partitions: u32) {
        self.partitions = partitions;
        self.polled.retain(|partition, _| *partition < partitions);
        self.share_anew();
    }

    fn share_anew(&mut self) {
        match self.rebalance {
            Rebalance::Immediate => self.share_evenly(),
            Rebalance::Cooperative { .. } => self.deal(),
        }
    }

    pub(super) fn member(&self, client: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.client == client)
    }

    /// Whether the client may store the group's offset on the partition.
    pub(super) fn owns(&self, client: u32, partition: u32) -> bool {
        self.member(client).is_some_and(|member| member.partitions.contains(&partition))
    }

    /// The partitions the client may poll, beginning with the one whose turn it is.
    pub(super) fn turns(&self, client: u32) -> Vec<u32> {
        let Some(member) = self.member(client) else { return Vec::new() };
        let mut turns: Vec<u32> = member
            .partitions
            .iter()
            .copied()
            .filter(|partition| member.leaving.iter().all(|gone| gone.partition != *partition))
            .collect();
        if !turns.is_empty() {
            let at = member.cursor % turns.len();
            turns.rotate_left(at);
        }
        turns
    }

    /// The `taken`th of the client's turns was taken: the next poll begins behind it.
    pub(super) fn advance(&mut self, client: u32, taken: usize) {
        if let Some(member) = self.members.iter_mut().find(|member| member.client == client) {
            member.cursor = member.cursor.wrapping_add(taken + 1);
        }
    }

    /// Messages up to `offset` were handed out to the owner.
    pub(super) fn handed_out(&mut self, partition: u32, offset: u64) {
        if matches!(self.rebalance, Rebalance::Cooperative { .. }) {
            self.polled.insert(partition, offset);
        }
    }

    /// Whether a poll looks past partitions that have nothing new.
    pub(super) fn looks_ahead(&self) -> bool {
        self.rebalance == Rebalance::Immediate
    }

    /// Hands partitions over whose work is stored, or that have waited long enough.
    pub(super) fn settle(&mut self, now: u64, stored: impl Fn(u32) -> Option<u64>) {
        let Rebalance::Cooperative { handover } = self.rebalance else { return };
        let patience = u64::try_from(handover.as_micros()).unwrap_or(u64::MAX);
        let mut moving = Vec::new();
        for member in &mut self.members {
            let polled = &self.polled;
            let (go, stay) = std::mem::take(&mut member.leaving).into_iter().partition(|leaving| {
                let done = polled
                    .get(&leaving.partition)
                    .is_none_or(|polled| stored(leaving.partition).is_some_and(|at| at >= *polled));
                done || now.saturating_sub(leaving.since) >= patience
            });
            member.leaving = stay;
            let go: Vec<HandOver> = go;
            member.partitions.retain(|own| go.iter().all(|gone| gone.partition != *own));
            moving.extend(go);
        }
        for HandOver { partition, to, .. } in moving {
            self.polled.remove(&partition);
            match self.members.iter_mut().find(|member| member.client == to) {
                Some(member) => member.partitions.push(partition),
                None => return self.deal(),
            }
        }
    }

    /// Evenly, moving as few partitions as can be.
    fn share_evenly(&mut self) {
        let members = self.members.len();
        if members == 0 {
            return;
        }
        let (fair, mut extra) =
            (self.partitions as usize / members, self.partitions as usize % members);
        let mut free: Vec<u32> = (0..self.partitions).collect();
        // Those who hold more than their share keep the odd ones.
        let mut order: Vec<usize> = (0..members).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.members[*at].partitions.len()));
        for at in order {
            let member = &mut self.members[at];
            member.partitions.retain(|own| *own < self.partitions);
            let share = fair + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            member.partitions.truncate(share);
            free.retain(|partition| !member.partitions.contains(partition));
        }
        let most = fair + usize::from(!(self.partitions as usize).is_multiple_of(members));
        for partition in free {
            let emptiest = self.members.iter_mut().min_by_key(|member| member.partitions.len());
            if let Some(member) = emptiest.filter(|member| member.partitions.len() < most) {
                member.partitions.push(partition);
            }
        }
    }

    /// From the start, one after the other.
    fn deal(&mut self) {
        for member in &mut self.members {
            member.partitions.clear();
            member.leaving.clear();
        }
        let members = self.members.len();
        for partition in 0..self.partitions {
            if let Some(member) = self.members.get_mut(partition as usize % members.max(1)) {
                member.partitions.push(partition);
            }
        }
    }

    /// Gives partitions nobody has to members without any, and marks one partition of a member with too many for
    /// each member that still has none.
    fn make_room(&mut self, now: u64) {
        let owned = |members: &[Member], partition: u32| {
            members.iter().any(|member| member.partitions.contains(&partition))
        };
        let free: Vec<u32> =
            (0..self.partitions).filter(|partition| !owned(&self.members, *partition)).collect();
        let idle: Vec<usize> =
            (0..self.members.len()).filter(|at| self.members[*at].partitions.is_empty()).collect();
        for (partition, at) in free.into_iter().zip(idle.iter().cycle()) {
            self.members[*at].partitions.push(partition);
        }

        let awaited = |members: &[Member], client: u32| {
            members.iter().any(|member| member.leaving.iter().any(|gone| gone.to == client))
        };
        let waiting: Vec<u32> = self
            .members
            .iter()
            .filter(|member| member.partitions.is_empty() && !awaited(&self.members, member.client))
            .map(|member| member.client)
            .collect();
        let fair = self.partitions as usize / self.members.len().max(1);
        for client in waiting {
            let richest = self
                .members
                .iter_mut()
                .max_by_key(|member| member.partitions.len() - member.leaving.len());
            let Some(member) = richest else { return };
            if member.partitions.len() - member.leaving.len() <= fair.max(1) {
                return;
            }
            let last =
                member.partitions.iter().rev().copied().find(|partition| {
                    member.leaving.iter().all(|gone| gone.partition != *partition)
                });
            if let Some(partition) = last {
                member.leaving.push(HandOver { partition, to: client, since: now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shares(group: &Group) -> Vec<Vec<u32>> {
        group.members.iter().map(|member| member.partitions.clone()).collect()
    }

    fn every_partition_once(group: &Group, partitions: u32) {
        let mut all: Vec<u32> = shares(group).concat();
        all.sort_unstable();
        assert_eq!(all, (0..partitions).collect::<Vec<_>>());
    }

    #[test]
    fn immediate_is_even_and_moves_little() {
        let mut group = Group::new(1, "g".to_owned(), 8, Rebalance::Immediate);
        for client in 1..=12 {
            let before = shares(&group);
            group.join(client, 0, |_| None);
            every_partition_once(&group, 8);
            let sizes: Vec<usize> = shares(&group).iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{sizes:?}");
            // Nobody gets a partition but the one who came.
            for (old, new) in before.iter().zip(shares(&group)) {
                assert!(new.iter().all(|partition| old.contains(partition)));
            }
        }
        for client in 1..12 {
            assert!(group.leave(client));
            every_partition_once(&group, 8);
        }
        assert!(!group.leave(1));
        group.resize(3);
        every_partition_once(&group, 3);
    }

    #[test]
    fn cooperative_gives_a_joiner_one_partition_once_its_work_is_stored() {
        let rebalance = Rebalance::Cooperative { handover: Duration::from_secs(30) };
        let mut group = Group::new(1, "g".to_owned(), 4, rebalance);
        group.join(1, 0, |_| None);
        for partition in 0..4 {
            group.handed_out(partition, 9);
        }
        group.join(2, 0, |_| None);
        assert_eq!(shares(&group), [vec![0, 1, 2, 3], vec![]]);
        assert_eq!(group.turns(1).len(), 3);
        assert!(group.owns(1, 3), "its work can still be stored");

        group.settle(1, |_| Some(8));
        assert_eq!(shares(&group), [vec![0, 1, 2, 3], vec![]]);
        group.settle(2, |_| Some(9));
        assert_eq!(shares(&group), [vec![0, 1, 2], vec![3]]);
        assert!(!group.owns(1, 3), "too late");

        group.join(3, 0, |_| Some(0));
        group.settle(30_000_000, |_| Some(0));
        assert_eq!(shares(&group), [vec![0, 1], vec![3], vec![2]]);
        group.leave(1);
        every_partition_once(&group, 4);
    }
}
