//! Which of several servers is asked: one, for as long as it serves, then the next; and in the end the one again that
//! comes first. Pure; what is asked, and how, is not known here.

/// The servers in the order in which they are tried, and whose turn it is.
#[derive(Debug)]
pub(super) struct Choice<S> {
    servers: Vec<S>,
    at: usize,
    /// For each server, how often in a row it was well when it was looked at.
    well: Vec<u32>,
    turn: Turn,
    /// In which turn a request was served last.
    served: Option<Turn>,
    cut: bool,
}

/// Counts changes of the server that is asked: what comes of a request of an earlier turn says nothing about this one.
pub(super) type Turn = u64;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// That it cannot serve now, for it is cut off from the state itself.
    Unable,
    Answer,
}

impl<S> Choice<S> {
    /// At least one, beginning with the first.
    pub(super) fn new(servers: Vec<S>) -> Self {
        assert!(!servers.is_empty(), "there is a server to ask");
        let well = vec![0; servers.len()];
        Self { servers, at: 0, well, turn: 0, served: None, cut: false }
    }

    pub(super) fn current(&self) -> (Turn, &S) {
        (self.turn, &self.servers[self.at])
    }

    pub(super) fn all(&self) -> &[S] {
        &self.servers
    }

    /// Those that come before the one that is asked: to be looked at, and gone back to.
    pub(super) fn before(&self) -> &[S] {
        &self.servers[..self.at]
    }

    /// They were looked at. Goes back to the first of them that was well so often in a row. True: to one of them.
    pub(super) fn looked(&mut self, is_well: impl Fn(&S) -> bool, enough: u32) -> bool {
        for (server, well) in self.servers.iter().zip(&mut self.well) {
            *well = if is_well(server) { *well + 1 } else { 0 };
        }
        let Some(back) = self.well[..self.at].iter().position(|well| *well >= enough) else { return false };
        self.ask(back);
        true
    }

    fn ask(&mut self, at: usize) {
        self.at = at;
        self.turn += 1;
        self.well.fill(0);
    }

    /// The last request got no answer.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Takes in what became of a request. True: the servers serve again after they had not, or another one does now, so
    /// that whoever waits on an older connection waits in vain.
    ///
    /// If all of them are unable, each is asked in its turn, and nobody is disturbed.
    pub(super) fn heard(&mut self, turn: Turn, heard: Heard) -> bool {
        if turn != self.turn {
            return false;
        }
        if heard == Heard::Answer {
            let restored = std::mem::take(&mut self.cut) || self.served.is_some_and(|served| served != turn);
            self.served = Some(turn);
            return restored;
        }
        self.cut |= heard == Heard::Nothing;
        if self.servers.len() > 1 {
            self.ask((self.at + 1) % self.servers.len());
        }
        false
    }

    /// These are the servers from now on, if there are any. The one that is asked stays, if it is among them.
    pub(super) fn replace(&mut self, servers: Vec<S>, is_same: impl Fn(&S, &S) -> bool) {
        if servers.is_empty() {
            return;
        }
        let stays = servers.iter().position(|server| is_same(server, &self.servers[self.at]));
        self.servers = servers;
        self.well = vec![0; self.servers.len()];
        self.at = stays.unwrap_or(0);
        self.turn += u64::from(stays.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A story in words: `+` an answer, `-` none, `!` unable, of the server whose turn it is; `old-` and its like are of
    /// the turn before; `=a,b` are the servers from then on; `look:a,b` finds these well, of which two in a row are enough.
    /// Expected: for each word the server that is asked afterwards,
    /// with `*` if it is news that servers serve, and `?` while the last request got no answer.
    fn check(servers: &str, story: &str, expected: &str) {
        let names = |list: &str| list.split(',').map(str::to_string).collect::<Vec<_>>();
        let mut choice = Choice::new(names(servers));
        let mut seen = Vec::new();
        for word in story.split(' ') {
            let mut restored = false;
            if let Some(list) = word.strip_prefix('=') {
                choice.replace(names(list), |one, other| one == other);
            } else if let Some(well) = word.strip_prefix("look:") {
                let (well, before) = (names(well), choice.current().1.clone());
                let went = choice.looked(|server| well.contains(server), 2);
                assert_eq!(went, *choice.current().1 != before);
            } else {
                let (turn, what) = match word.strip_prefix("old") {
                    Some(what) => (choice.current().0.wrapping_sub(1), what),
                    None => (choice.current().0, word),
                };
                let heard = match what {
                    "+" => Heard::Answer,
                    "-" => Heard::Nothing,
                    _ => Heard::Unable,
                };
                restored = choice.heard(turn, heard);
            }
            let (news, cut) = (if restored { "*" } else { "" }, if choice.is_cut() { "?" } else { "" });
            seen.push(format!("{}{news}{cut}", choice.current().1));
        }
        assert_eq!(seen.join(" "), expected, "{servers}: {story}");
    }

    #[test]
    fn one_server_is_asked_whatever_it_does() {
        check("a", "+ + - - + +", "a a a? a? a* a");
        check("a", "- +", "a? a*");
        check("a", "+ ! ! +", "a a a a");
    }

    #[test]
    fn who_does_not_serve_is_left() {
        check("a,b,c", "+ - + +", "a b? b* b");
        check("a,b,c", "- - - +", "b? c? a? a*");
        check("a,b", "+ ! + +", "a b b* b");
        check("a,b", "+ - + - +", "a b? b* a? a*");
    }

    #[test]
    fn who_comes_first_is_gone_back_to_when_it_has_been_well_for_a_while() {
        check("a,b", "+ look:a look:a look:a", "a a a a");
        check("a,b", "+ - + look:a + look:a +", "a b? b* b b a a*");
        check("a,b", "+ - + look:a look: look:a look:a", "a b? b* b b b a");
        // The first of those that are well, not the one that is well first.
        check("a,b,c", "+ - - + look:b look:a,b look:b", "a b? c? c* c b b");
        check("a,b,c", "+ - - + look:a,b look:a,b", "a b? c? c* c a");
        check("a,b,c", "+ - + look:b,c look:b,c", "a b? b* b b");
        // What is found out later counts for more.
        check("a,b", "+ - look:a - + look:a", "a b? b? a? a* a");
        check("a,b,c", "+ - look:a - look:a look:a", "a b? b? c? c? a?");
        check("a,b", "+ - look:a look:a - look:a look:a +", "a b? b? a? b? b? a? a*");
        check("a,b", "+ - look:a =c,a,b look:a look:a", "a b? b? b? b? a?");
        check("a,b", "+ - look:a look:a old+ old- +", "a b? b? a? a? a? a*");
    }

    #[test]
    fn what_was_under_way_to_the_one_before_says_nothing() {
        check("a,b", "+ - old- old+ +", "a b? b? b? b*");
        check("a,b,c", "+ - + old- old!", "a b? b* b b");
    }

    #[test]
    fn while_all_are_unable_nobody_is_disturbed() {
        check("a,b", "+ ! ! ! ! +", "a b a b a a*");
        check("a,b", "! ! +", "b a a");
    }

    #[test]
    fn servers_come_and_go() {
        check("a,b", "+ =b,a +", "a a a");
        check("a,b", "+ =c,b + +", "a c c* c");
        check("a", "+ =a,b - +", "a a b? b*");
        check("a,b", "- =a +", "b? a? a*");
    }
}
