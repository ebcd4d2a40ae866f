//! What several rounds come to.

/// The middle, the ends and the quartiles of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Half are no more.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// A quarter are no more.
    pub low: f64,
    /// A quarter are no less.
    pub high: f64,
}

/// Sums figures up; `None` where there are none.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let at = |share| quantile(&sorted, share);
    Some(Summary { median: at(0.5), min, max, low: at(0.25), high: at(0.75) })
}

/// By linear interpolation between the two nearest ranks.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The ratio of each round, so that what slowed one round slows both sides.
pub fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        let all = summary(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((all.median, all.min, all.max), (2.5, 1.0, 4.0));
        assert_eq!((all.low, all.high), (1.75, 3.25));
        let one = summary(&[7.0]).unwrap();
        assert_eq!((one.median, one.low, one.max), (7.0, 7.0, 7.0));
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[f64::NAN]), None);
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0, 5.0]), [2.0, 3.0]);
    }
}
