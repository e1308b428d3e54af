//! Lists and maps that are read from a file, with a maximum length: one more element is an error,
//! not a longer list.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A list of at most `MOST`; for `deserialize_with`.
pub(crate) fn list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// A map of at most `MOST`; for `deserialize_with`.
pub(crate) fn map<'de, D, K, V, const MOST: usize>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    deserializer.deserialize_map(Map::<K, V, MOST>(PhantomData))
}

struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

struct Map<K, V, const MOST: usize>(PhantomData<(K, V)>);

impl<'de, K, V, const MOST: usize> Visitor<'de> for Map<K, V, MOST>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MOST}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
            if map.len() > MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Few {
        #[serde(deserialize_with = "list::<_, _, 2>")]
        list: Vec<u8>,
        #[serde(deserialize_with = "map::<_, _, _, 2>")]
        map: BTreeMap<u8, u8>,
    }

    fn read(text: &str) -> Result<(usize, usize), String> {
        let read: Result<Few, _> = serde_json::from_str(text);
        read.map(|few| (few.list.len(), few.map.len()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn no_more_is_read_than_is_allowed() {
        assert_eq!(read(r#"{"list":[],"map":{}}"#), Ok((0, 0)));
        assert_eq!(read(r#"{"list":[1,2],"map":{"1":1,"2":2}}"#), Ok((2, 2)));
        let list = read(r#"{"list":[1,2,3],"map":{}}"#).unwrap_err();
        assert!(list.contains("a list of at most 2"), "{list}");
        let map = read(r#"{"list":[],"map":{"1":1,"2":2,"3":3}}"#).unwrap_err();
        assert!(map.contains("a map of at most 2"), "{map}");
    }
}
