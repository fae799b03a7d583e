//! Some of the endpoints, with a table of their own.

use crate::pick::{Pick, View};
use towpath_core::Endpoint;

/// Some of the endpoints, with the table of the picker that picks among them.
pub(crate) struct Part<T> {
    /// In ascending order. `None`: all.
    indices: Option<Box<[u32]>>,
    table: T,
}

impl<T> Part<T> {
    /// Those that belong to it. `None`: there are none.
    pub(crate) fn of<P>(
        picker: &P,
        endpoints: &[&Endpoint],
        belongs: impl Fn(&Endpoint) -> bool,
    ) -> Option<Self>
    where
        P: Pick<Table = T>,
    {
        let own: Vec<_> = (0..endpoints.len()).filter(|index| belongs(endpoints[*index])).collect();
        Part::those(picker, endpoints, &own)
    }

    /// These, in ascending order. `None`: there are none.
    pub(crate) fn those<P>(picker: &P, endpoints: &[&Endpoint], own: &[usize]) -> Option<Self>
    where
        P: Pick<Table = T>,
    {
        match own.len() {
            0 => None,
            all if all == endpoints.len() => Some(Part::whole(picker, endpoints)),
            _ => {
                let seen: Vec<_> = own.iter().map(|index| endpoints[*index]).collect();
                let indices = own.iter().map(|index| *index as u32).collect();
                Some(Part { table: picker.table(&seen), indices: Some(indices) })
            }
        }
    }

    /// These, in ascending order, with other weights than their own. `None`: there are none.
    pub(crate) fn weighing<P>(
        picker: &P,
        endpoints: &[&Endpoint],
        own: impl Iterator<Item = (usize, u32)>,
    ) -> Option<Self>
    where
        P: Pick<Table = T>,
    {
        let (indices, own): (Vec<_>, Vec<_>) =
            own.map(|(index, weight)| (index as u32, endpoints[index].clone().with_weight(weight))).unzip();
        let table = picker.table(&own.iter().collect::<Vec<_>>());
        (!own.is_empty()).then(|| Part { table, indices: Some(indices.into()) })
    }

    /// All of them.
    pub(crate) fn whole<P: Pick<Table = T>>(picker: &P, endpoints: &[&Endpoint]) -> Self {
        Part { indices: None, table: picker.table(endpoints) }
    }

    #[inline]
    pub(crate) fn pick<P: Pick<Table = T>>(&self, picker: &P, view: &View<'_>) -> Option<usize> {
        match &self.indices {
            None => picker.pick(&self.table, view),
            Some(indices) => {
                let index = picker.pick(&self.table, &view.only(indices))?;
                indices.get(index).map(|index| *index as usize)
            }
        }
    }

    pub(crate) fn refresh<P: Pick<Table = T>>(&self, picker: &P, view: &View<'_>) {
        match &self.indices {
            None => picker.refresh(&self.table, view),
            Some(indices) => picker.refresh(&self.table, &view.only(indices)),
        }
    }

    /// Whether the endpoint is one of them, and the call may go there.
    pub(crate) fn suits<P: Pick<Table = T>>(&self, picker: &P, view: &View<'_>, index: usize) -> bool {
        match &self.indices {
            None => picker.suits(&self.table, view, index),
            Some(indices) => u32::try_from(index).is_ok_and(|index| {
                let own = indices.binary_search(&index);
                own.is_ok_and(|own| picker.suits(&self.table, &view.only(indices), own))
            }),
        }
    }

    /// Those of this view, in ascending order. `None`: all.
    pub(crate) fn indices(&self) -> Option<&[u32]> {
        self.indices.as_deref()
    }

    /// Those of all these parts that calls go to as a rule. `None`: the picker does not tell them apart.
    pub(crate) fn wanted<'a, P: Pick<Table = T>>(
        parts: impl Iterator<Item = &'a Self>,
        picker: &P,
        view: &View<'_>,
    ) -> Option<Vec<usize>>
    where
        T: 'a,
    {
        let (mut all, mut choosy) = (Vec::new(), false);
        for part in parts {
            let Some(indices) = &part.indices else {
                all.extend(picker.wanted(&part.table, view)?);
                choosy = true;
                continue;
            };
            match picker.wanted(&part.table, &view.only(indices)) {
                None => all.extend(indices.iter().map(|index| *index as usize)),
                Some(own) => {
                    choosy = true;
                    all.extend(
                        own.iter().filter_map(|index| indices.get(*index)).map(|index| *index as usize),
                    );
                }
            }
        }
        choosy.then_some(all)
    }

    /// Which share of them is well, by weight: 0 to 1. Of those that calls go to as a rule, where the picker tells them apart.
    pub(crate) fn health<P: Pick<Table = T>>(&self, picker: &P, view: &View<'_>) -> f32 {
        let (mut well, mut all) = (0.0, 0.0);
        let mut count = |index: usize| {
            let weight = view.whole_weight(index);
            all += weight;
            well += if view.is_well(index) { weight } else { 0.0 };
        };
        match (Part::wanted([self].into_iter(), picker, view), &self.indices) {
            (Some(wanted), _) => wanted.into_iter().for_each(&mut count),
            (None, None) => (0..view.len()).for_each(&mut count),
            (None, Some(indices)) => indices.iter().for_each(|index| count(*index as usize)),
        }
        if all > 0.0 { well / all } else { 0.0 }
    }
}
