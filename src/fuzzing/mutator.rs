//! Changes inputs by chance, the same way in each run: bits and bytes, lines, words of the protocols, numbers, nesting.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A longer input is cut off.
const LONGEST: usize = 16 * 1024;

/// What parsers and state machines trip over; the words of a protocol are in its seeds.
const WORDS: [&str; 44] = [
    "~",
    "~0",
    "~1500",
    "~40000",
    "~99999999",
    "!",
    "!1000",
    "!1001",
    "!1002 invalid peer uid",
    "!1006",
    "!closed",
    "!0",
    ">offer b",
    ">answer b",
    ">candidate b",
    ">blank b",
    ">end b",
    ">hangup b",
    ">call b",
    ">leave",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "0",
    "65535",
    "65536",
    "4294967295",
    "18446744073709551616",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{1b}[2J",
    "é",
    "\r\n",
    "\0",
    ":",
    " ",
    "a=mid:",
    "m=audio 0",
    "a=candidate:",
];

pub(super) struct Mutator {
    random: StdRng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub(super) fn new(seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "nothing to begin with");
        Self { random: StdRng::seed_from_u64(1), seeds }
    }

    /// The next input: a seed, changed one to eight times.
    pub(super) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.seed().clone();
        for _ in 0..self.random.random_range(1..=8_u32) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn seed(&mut self) -> &Vec<u8> {
        let which = self.random.random_range(0..self.seeds.len());
        &self.seeds[which]
    }

    /// A place from the beginning to one past the end.
    fn place(&mut self, input: &[u8]) -> usize {
        self.random.random_range(0..=input.len())
    }

    /// A part of at most so many bytes.
    fn part(&mut self, input: &[u8], longest: usize) -> std::ops::Range<usize> {
        let start = self.place(input);
        start..(start + self.random.random_range(0..=longest)).min(input.len())
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        match self.random.random_range(0..12_u32) {
            0 => {
                let bit = 1 << self.random.random_range(0..8_u32);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let byte = self.random.random();
                input.insert(at, byte);
            }
            2 => drop(input.drain(self.part(input, 8))),
            3 => {
                let part = input[self.part(input, 64)].to_vec();
                input.splice(at..at, part);
            }
            4 => {
                let word = WORDS[self.random.random_range(0..WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            5 => {
                let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("\"\\\"", "\"")][self.random.random_range(0..3)];
                let times = self.random.random_range(1..200);
                let deep = open.repeat(times) + "1" + &close.repeat(times);
                input.splice(at..at, deep.bytes());
            }
            6 => self.change_number(input),
            7 => {
                let other = self.seed().clone();
                let from = self.place(&other);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => self.change_lines(input),
        }
    }

    fn change_number(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
        let end = input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |end| start + end);
        let number = match self.random.random_range(0..3_u32) {
            0 => self.random.random::<u64>().to_string(),
            1 => self.random.random::<u8>().to_string(),
            _ => "9".repeat(self.random.random_range(1..400)),
        };
        input.splice(start..end, number.bytes());
    }

    /// Steps are lines: one goes, comes twice, moves, or comes from another seed; or a word becomes one.
    fn change_lines(&mut self, input: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (one, to) = (self.random.random_range(0..lines.len()), self.random.random_range(0..lines.len()));
        match self.random.random_range(0..5_u32) {
            0 => drop(lines.remove(one)),
            1 => lines.insert(to, lines[one].clone()),
            2 => lines.swap(one, to),
            3 => {
                let other = self.seed().clone();
                let theirs: Vec<&[u8]> = other.split(|byte| *byte == b'\n').collect();
                lines.insert(to, theirs[self.random.random_range(0..theirs.len())].to_vec());
            }
            _ => lines.insert(to, WORDS[self.random.random_range(0..WORDS.len())].into()),
        }
        *input = lines.join(&b'\n');
    }
}
