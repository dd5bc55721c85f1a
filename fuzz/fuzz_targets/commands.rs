//! A connection's bytes, put together and taken apart.

/// Every command there is, and some that are not.
const CODES: [u32; 48] = [
    1, 10, 11, 12, 20, 21, 22, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 100, 101,
    102, 120, 121, 122, 200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 304, 305, 402, 403, 503,
    600, 601, 602, 603, 604, 605,
];

/// Puts commands `[which][length][payload]` into frames of the right length.
pub(crate) fn frames(mut commands: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while let Some(([which, length], rest)) = commands.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let length = u32::try_from(payload.len() + 4).expect("a byte and four");
        frames.extend(length.to_le_bytes());
        frames.extend(CODES[usize::from(*which) % CODES.len()].to_le_bytes());
        frames.extend(payload);
        commands = rest;
    }
    frames
}

/// Answers are whole, and one that is an error has no payload. Gives how many there are.
pub(crate) fn check(mut answers: &[u8]) -> usize {
    let mut count = 0;
    while let Some((status, rest)) = answers.split_first_chunk() {
        let (length, rest) = rest.split_first_chunk().expect("an answer has a length");
        let length = u32::from_le_bytes(*length) as usize;
        assert!(u32::from_le_bytes(*status) == 0 || length == 0, "an error has no payload");
        answers = rest.get(length..).expect("an answer is whole");
        count += 1;
    }
    assert!(answers.is_empty(), "an answer has a status");
    count
}
