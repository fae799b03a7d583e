//! Draws by weight, in the same time however many there are.
//!
//! Vose, "A Linear Algorithm For Generating Random Numbers With a Given Distribution" (1991), after Walker's alias method: as
//! many columns as there are members, all of the same height, each with a member of its own and what another one has
//! too much.

/// What is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias(Box<[Column]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    /// The share of the column that is its own member's, of 2^32.
    own: u32,
    /// Whose the rest is.
    other: u32,
}

impl Alias {
    /// Members by their weights. If these are all 0, each is as likely as the others.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let count = weights.len() as u128;
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if sum == 0 {
            return Alias(
                (0..weights.len()).map(|member| Column { own: u32::MAX, other: member as u32 }).collect(),
            );
        }
        // So that a column holds `sum`.
        let mut left: Vec<_> = weights.iter().map(|weight| u128::from(*weight) * count).collect();
        let (mut scant, mut ample): (Vec<_>, Vec<_>) =
            (0..weights.len()).partition(|member: &usize| left[*member] < sum);
        let mut columns: Box<[_]> =
            (0..weights.len()).map(|member| Column { own: u32::MAX, other: member as u32 }).collect();
        while let (Some(poor), Some(rich)) = (scant.pop(), ample.last().copied()) {
            columns[poor] = Column { own: ((left[poor] << 32) / sum) as u32, other: rich as u32 };
            left[rich] -= sum - left[poor];
            if left[rich] < sum {
                ample.pop();
                scant.push(rich);
            }
        }
        Alias(columns)
    }

    /// The member that 64 random bits stand for. 0 if there are none.
    #[inline]
    pub(crate) fn draw(&self, random: u64) -> usize {
        let column = ((random & u64::from(u32::MAX)) * self.0.len() as u64) >> 32;
        match self.0.get(column as usize) {
            Some(Column { own, other }) if (random >> 32) as u32 >= *own => *other as usize,
            _ => column as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chances(alias: &Alias) -> Vec<f64> {
        let mut chances = vec![0.0; alias.0.len()];
        for (member, column) in alias.0.iter().enumerate() {
            let own = f64::from(column.own) / 4_294_967_296.0;
            chances[member] += own / alias.0.len() as f64;
            chances[column.other as usize] += (1.0 - own) / alias.0.len() as f64;
        }
        chances
    }

    proptest! {
        #[test]
        fn each_as_likely_as_it_weighs(weights in proptest::collection::vec(prop_oneof![Just(0u32), 0u32..10, any::<u32>()], 1..50)) {
            let alias = Alias::new(&weights);
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (chance, weight) in chances(&alias).into_iter().zip(&weights) {
                let expected = if sum == 0.0 { 1.0 / weights.len() as f64 } else { f64::from(*weight) / sum };
                prop_assert!((chance - expected).abs() < 1e-8, "{} {}", chance, expected);
                prop_assert!(*weight > 0 || sum == 0.0 || chance == 0.0, "never one of weight 0");
            }
        }

        #[test]
        fn a_draw_is_what_the_columns_say(weights in proptest::collection::vec(0u32..9, 1..20), random: u64) {
            let alias = Alias::new(&weights);
            let column = ((random as u32 as f64) / 4_294_967_296.0 * weights.len() as f64) as usize;
            let own = ((random >> 32) as u32) < alias.0[column].own;
            prop_assert_eq!(alias.draw(random), if own { column } else { alias.0[column].other as usize });
        }
    }

    #[test]
    fn none_and_one() {
        assert_eq!(Alias::new(&[]).draw(u64::MAX), 0);
        assert_eq!(Alias::new(&[7]).draw(u64::MAX), 0);
        assert!(
            (0..1_000).all(|i| Alias::new(&[0, 7]).draw(u64::wrapping_mul(i, 0x9e37_79b9_7f4a_7c15)) == 1)
        );
    }
}
