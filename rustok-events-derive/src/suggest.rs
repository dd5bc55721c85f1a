//! The nearest of the names there are.

/// The candidate that a misspelt `word` most likely means, or the first that has a part of it in common.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let slip = candidates
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    slip.or_else(|| candidates.into_iter().find(|candidate| share_a_part(&word, candidate)))
}

/// `key` and `partition_key`, `consumer_group` and `group`, `retries` and `retry`.
fn share_a_part(a: &str, b: &str) -> bool {
    let alike = |a: &str, b: &str| {
        let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        common >= 4 || (common >= 3 && a == b)
    };
    a.split('_').any(|a| b.split('_').any(|b| alike(a, b)))
}

/// `; did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    nearest(word, candidates).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Names as they are listed in a message.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let names = ["stream", "topic", "partition_key", "partitions"];
        for (slip, word) in [
            ("steam", Some("stream")),
            ("tpoic", Some("topic")),
            ("partitionkey", Some("partition_key")),
            ("Partition", Some("partitions")),
            ("key", Some("partition_key")),
            ("topic_name", Some("topic")),
            ("on", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(slip, names), word, "{slip}");
        }
    }
}
