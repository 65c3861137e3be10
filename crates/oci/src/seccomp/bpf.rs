//! Rules about system calls become a program that the kernel runs at each of them.
//!
//! The program finds the architecture, then the call's number in a tree of ranges: calls that are next to each other and
//! treated alike share one.

use std::collections::BTreeMap;

use super::syscalls::Architecture;

// What a program ends with: an action, and for some of them a number in the lower half.
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const KILL_THREAD: u32 = 0x0000_0000;
pub(super) const TRAP: u32 = 0x0003_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const TRACE: u32 = 0x7ff0_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

// Instructions of classic BPF: load a word of the call's data, jumps that compare with a constant, a mask, the end.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const MASK: u16 = 0x54;
const RETURN: u16 = 0x06;

// Offsets into what the kernel shows of a call (`struct seccomp_data`).
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// The kernel takes no longer programs.
const INSTRUCTIONS_MAX: usize = 4096;

/// What becomes of a call if all of this is true of its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) is: Is,
    pub(super) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Equal,
    NotEqual,
    Less,
    AtMost,
    AtLeast,
    Greater,
    /// Of the bits of this mask only.
    EqualUnder(u64),
}

/// The calls of one architecture.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) architecture: Architecture,
    /// By number: the first rule that holds is the one. None at all, or none that holds: the usual action.
    pub(super) rules: BTreeMap<u32, Vec<Rule>>,
    pub(super) usual: u32,
    /// Of calls with higher numbers than all of these.
    pub(super) beyond: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) value: u32,
}

impl Instruction {
    fn plain(code: u16, value: u32) -> Self {
        Self { code, if_true: 0, if_false: 0, value }
    }

    /// As one number, for a file.
    pub(super) fn pack(self) -> u64 {
        u64::from(self.code) << 48
            | u64::from(self.if_true) << 40
            | u64::from(self.if_false) << 32
            | u64::from(self.value)
    }

    pub(super) fn unpack(packed: u64) -> Self {
        let byte = |shift: u32| (packed >> shift) as u8;
        Self { code: (packed >> 48) as u16, if_true: byte(40), if_false: byte(32), value: packed as u32 }
    }
}

/// # Errors
/// If the kernel would not take it.
pub(super) fn compile(sections: &[Section]) -> Result<Vec<Instruction>, String> {
    let bodies: Vec<Vec<Instruction>> = sections.iter().map(section).collect();
    let mut program = vec![Instruction::plain(LOAD, ARCHITECTURE_AT)];
    // Jumps to a section have to pass those before it, and two instructions for each that is still to be compared.
    let mut before = 0;
    for (index, (section, body)) in sections.iter().zip(&bodies).enumerate() {
        let to_come = (sections.len() - index - 1) * 2 + 1;
        program.push(Instruction { if_false: 1, ..Instruction::plain(EQUAL, section.architecture.audit_number()) });
        program.push(Instruction::plain(JUMP, (to_come + before) as u32));
        before += body.len();
    }
    // Programs of any other kind, whose calls have other numbers.
    program.push(Instruction::plain(RETURN, KILL_PROCESS));
    program.extend(bodies.into_iter().flatten());
    if program.len() > INSTRUCTIONS_MAX {
        let length = program.len();
        return Err(format!("its program has {length} instructions, and the kernel takes {INSTRUCTIONS_MAX}"));
    }
    Ok(program)
}

fn section(section: &Section) -> Vec<Instruction> {
    let nothing: &[Rule] = &[];
    let mut ranges: Vec<(u32, Vec<Instruction>)> = vec![(0, leaf(nothing, section.usual))];
    let mut add = |start: u32, leaf: Vec<Instruction>| {
        match ranges.last_mut() {
            Some(last) if last.0 == start => last.1 = leaf,
            Some(last) if last.1 == leaf => {}
            _ => ranges.push((start, leaf)),
        };
    };
    for (number, rules) in &section.rules {
        add(*number, leaf(rules, section.usual));
        if !section.rules.contains_key(&(number + 1)) {
            add(number + 1, leaf(nothing, section.usual));
        }
    }
    if let Some(last) = section.rules.keys().next_back() {
        add(last + 1, leaf(nothing, section.beyond));
    }
    let mut program = vec![Instruction::plain(LOAD, NUMBER_AT)];
    program.extend(tree(&ranges));
    program
}

fn tree(ranges: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    if let [(_, leaf)] = ranges {
        return leaf.clone();
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let lower = tree(lower);
    // Jumps that compare reach 255 instructions far, others wherever they want.
    let mut program = vec![
        Instruction { if_false: 1, ..Instruction::plain(AT_LEAST, upper[0].0) },
        Instruction::plain(JUMP, lower.len() as u32),
    ];
    program.extend(lower);
    program.extend(tree(upper));
    program
}

fn leaf(rules: &[Rule], usual: u32) -> Vec<Instruction> {
    let mut program = Vec::new();
    for rule in rules {
        // From the end, since every condition must know how far away the next rule is.
        let mut tail = vec![Instruction::plain(RETURN, rule.action)];
        for condition in rule.conditions.iter().rev() {
            let mut test = condition.test(tail.len());
            test.append(&mut tail);
            tail = test;
        }
        program.append(&mut tail);
        if rule.conditions.is_empty() {
            return program;
        }
    }
    program.push(Instruction::plain(RETURN, usual));
    program
}

/// Where a jump inside of a condition leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Holds,
    Fails,
}

impl Condition {
    /// Goes on behind itself if it holds, else `rest` instructions further.
    fn test(&self, rest: usize) -> Vec<Instruction> {
        use To::{Fails, Holds, Next};
        let (high_at, low_at) = (ARGUMENTS_AT + 8 * self.argument + 4, ARGUMENTS_AT + 8 * self.argument);
        let (high, low) = ((self.value >> 32) as u32, self.value as u32);
        let load = |at| (LOAD, at, Next, Next);
        let swap = |steps: Vec<(u16, u32, To, To)>| {
            let other = |to| match to {
                Holds => Fails,
                Fails => Holds,
                Next => Next,
            };
            steps.into_iter().map(|(code, value, yes, no)| (code, value, other(yes), other(no))).collect()
        };
        let compare = |last: u16| {
            vec![
                load(high_at),
                (GREATER, high, Holds, Next),
                (EQUAL, high, Next, Fails),
                load(low_at),
                (last, low, Holds, Fails),
            ]
        };
        let equal = || vec![load(high_at), (EQUAL, high, Next, Fails), load(low_at), (EQUAL, low, Holds, Fails)];
        let steps: Vec<(u16, u32, To, To)> = match self.is {
            Is::Equal => equal(),
            Is::NotEqual => swap(equal()),
            Is::Greater => compare(GREATER),
            Is::AtLeast => compare(AT_LEAST),
            Is::AtMost => swap(compare(GREATER)),
            Is::Less => swap(compare(AT_LEAST)),
            Is::EqualUnder(mask) => {
                let (mask_high, mask_low) = ((mask >> 32) as u32, mask as u32);
                vec![
                    load(high_at),
                    (MASK, mask_high, Next, Next),
                    (EQUAL, high & mask_high, Next, Fails),
                    load(low_at),
                    (MASK, mask_low, Next, Next),
                    (EQUAL, low & mask_low, Holds, Fails),
                ]
            }
        };
        let length = steps.len();
        let far = |index: usize, to: To| match to {
            Next => 0,
            Holds => (length - index - 1) as u8,
            // Six conditions of six instructions are far from the end of a byte.
            Fails => (length - index - 1 + rest) as u8,
        };
        let steps = steps.into_iter().enumerate();
        steps
            .map(|(index, (code, value, yes, no))| Instruction {
                code,
                if_true: far(index, yes),
                if_false: far(index, no),
                value,
            })
            .collect()
    }
}

/// Runs a program as the kernel does.
#[cfg(test)]
pub(super) fn run(program: &[Instruction], architecture: u32, number: u32, arguments: &[u64]) -> u32 {
    let (mut at, mut word) = (0, 0u32);
    loop {
        let it = program[at];
        let jump = |yes: bool| usize::from(if yes { it.if_true } else { it.if_false });
        at += 1 + match it.code {
            LOAD => {
                word = match it.value {
                    NUMBER_AT => number,
                    ARCHITECTURE_AT => architecture,
                    offset => {
                        let place = (offset - ARGUMENTS_AT) as usize;
                        (arguments.get(place / 8).copied().unwrap_or(0) >> (place % 8 * 8)) as u32
                    }
                };
                0
            }
            MASK => {
                word &= it.value;
                0
            }
            JUMP => it.value as usize,
            EQUAL => jump(word == it.value),
            GREATER => jump(word > it.value),
            AT_LEAST => jump(word >= it.value),
            RETURN => return it.value,
            code => panic!("instruction {code:#x}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::syscalls::{X86, X86_64};
    use super::*;

    const BIG: u64 = 5 << 32;

    fn check(is: Is, value: u64, holding: &[u64], failing: &[u64]) {
        let conditions = vec![Condition { argument: 1, is, value }, Condition { argument: 5, is: Is::Equal, value: 7 }];
        let other = Rule { conditions: vec![Condition { argument: 0, is: Is::Equal, value: 9 }], action: LOG };
        let rules = BTreeMap::from([(10, vec![Rule { conditions, action: ALLOW }, other])]);
        let program = compile(&[Section { architecture: X86_64, rules, usual: ERRNO | 1, beyond: TRAP }]).unwrap();
        let run = |first: u64, one: u64, last: u64| {
            super::run(&program, X86_64.audit_number(), 10, &[first, one, 0, 0, 0, last])
        };
        for (values, action) in [(holding, ALLOW), (failing, ERRNO | 1)] {
            for one in values {
                assert_eq!(run(0, *one, 7), action, "{is:?} {value:#x}: {one:#x}");
                assert_eq!(run(0, *one, 8), ERRNO | 1, "both must hold");
                assert_eq!(run(9, *one, 8), LOG, "the next rule");
            }
        }
    }

    #[test]
    fn arguments_are_compared_as_64_bits() {
        for value in [3, BIG | 3] {
            let (less, more) = ([value - 1, 0], [value + 1, value + BIG, u64::MAX]);
            let with = |others: &[u64]| [others, &[value]].concat();
            check(Is::Equal, value, &[value], &[less.as_slice(), &more].concat());
            check(Is::NotEqual, value, &[less.as_slice(), &more].concat(), &[value]);
            check(Is::Less, value, &less, &with(&more));
            check(Is::AtMost, value, &with(&less), &more);
            check(Is::AtLeast, value, &with(&more), &less);
            check(Is::Greater, value, &more, &with(&less));
        }
        check(Is::EqualUnder(0xf0), 0x20, &[0x20, 0x2f, BIG | 0x120], &[0, 0x30]);
        check(Is::EqualUnder(BIG), BIG, &[BIG, BIG | 9], &[9, 1 << 32]);
        check(Is::EqualUnder(0x7e02_0000), 0, &[0, 17, 0x0100_0000], &[0x1000_0000, 0x0002_0000]);
    }

    #[test]
    fn calls_are_found_by_number_and_architecture() {
        let only = |action| vec![Rule { conditions: Vec::new(), action }];
        // Enough of them that jumps are long.
        let many: BTreeMap<u32, Vec<Rule>> =
            (0..900).filter(|it| it % 3 != 0).map(|it| (it, only(TRACE | it))).collect();
        let first = Section { architecture: X86_64, rules: many, usual: ERRNO | 1, beyond: ERRNO | 38 };
        let rules = BTreeMap::from([(4, only(ALLOW)), (5, only(ALLOW)), (7, only(LOG))]);
        let second = Section { architecture: X86, rules, usual: TRAP, beyond: TRAP };
        let program = compile(&[first, second]).unwrap();
        for number in 0..1000 {
            let expected = match number {
                900.. => ERRNO | 38,
                _ if number % 3 == 0 => ERRNO | 1,
                _ => TRACE | number,
            };
            assert_eq!(run(&program, X86_64.audit_number(), number, &[]), expected, "{number}");
        }
        for (number, expected) in [(0, TRAP), (4, ALLOW), (5, ALLOW), (6, TRAP), (7, LOG), (8, TRAP), (9999, TRAP)] {
            assert_eq!(run(&program, X86.audit_number(), number, &[]), expected, "{number}");
        }
        assert_eq!(run(&program, 5, 4, &[]), KILL_PROCESS);
        assert!(program.iter().all(|it| Instruction::unpack(it.pack()) == *it));
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused() {
        let rules = (0..5000).map(|it| (it, vec![Rule { conditions: Vec::new(), action: TRACE | it }])).collect();
        let section = Section { architecture: X86_64, rules, usual: ALLOW, beyond: ALLOW };
        assert!(compile(&[section]).is_err());
    }
}
