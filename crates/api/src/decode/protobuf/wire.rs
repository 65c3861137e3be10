//! The wire format: a message is a row of numbered chunks.

const UNEXPECTED_END: &str = "unexpected EOF";

/// Iterates over the chunks of a message; ends after the first error.
pub struct Wire<'a>(pub &'a [u8]);

pub struct Chunk<'a> {
    pub number: u32,
    payload: Payload<'a>,
}

enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    /// A form of old, which nobody uses: skipped.
    Group,
}

impl<'a> Iterator for Wire<'a> {
    type Item = Result<Chunk<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let chunk = self.chunk();
        if chunk.is_err() {
            self.0 = &[];
        }
        Some(chunk)
    }
}

impl<'a> Wire<'a> {
    fn chunk(&mut self) -> Result<Chunk<'a>, String> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| format!("proto: illegal tag {} (wire type {key})", key >> 3))?;
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?.try_into().map_err(|_| UNEXPECTED_END.to_string())?;
                Payload::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| UNEXPECTED_END.to_string())?;
                Payload::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group()?;
                Payload::Group
            }
            4 => return Err("proto: wiretype end group for non-group".to_string()),
            5 => {
                self.take(4)?;
                Payload::Fixed32
            }
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        Ok(Chunk { number, payload })
    }

    /// Everything up to the end of a group that has begun.
    fn skip_group(&mut self) -> Result<(), String> {
        let mut open = 1_u32;
        while open > 0 {
            match self.varint()? & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| UNEXPECTED_END.to_string())?;
                    self.take(length)?;
                }
                3 => open = open.checked_add(1).ok_or_else(|| UNEXPECTED_END.to_string())?,
                4 => open -= 1,
                5 => drop(self.take(4)?),
                other => return Err(format!("proto: illegal wireType {other}")),
            }
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| UNEXPECTED_END.to_string())?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".to_string())
    }
}

/// Numbers packed one after the other.
pub fn varints(packed: &[u8]) -> Result<Vec<u64>, String> {
    let mut wire = Wire(packed);
    let mut numbers = Vec::new();
    while !wire.0.is_empty() {
        numbers.push(wire.varint()?);
    }
    Ok(numbers)
}

impl<'a> Chunk<'a> {
    pub fn varint(value: u64) -> Self {
        Self { number: 0, payload: Payload::Varint(value) }
    }

    pub fn bytes(&self) -> Result<&'a [u8], String> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong()),
        }
    }

    pub fn text(&self) -> Result<String, String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn number_value(&self) -> Result<i64, String> {
        match self.payload {
            Payload::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.wrong()),
        }
    }

    pub fn fixed64(&self) -> Result<u64, String> {
        match self.payload {
            Payload::Fixed64(bits) => Ok(bits),
            _ => Err(self.wrong()),
        }
    }

    fn wrong(&self) -> String {
        let wire_type = match self.payload {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Fixed32 => 5,
            Payload::Group => 3,
        };
        format!("proto: wrong wireType = {wire_type} for field {}", self.number)
    }
}
