//! Netlink attributes: reading them from a kernel's answer and writing them
//! into a message, in safe code. A header of 2 bytes length and 2 bytes type,
//! the payload, and padding to 4 bytes (`struct nlattr` of `linux/netlink.h`).

const HEADER: usize = 4;
/// `NLA_TYPE_MASK`: the two highest bits are flags.
const TYPE_MASK: u16 = 0x3fff;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// The attributes of one level. What does not hold together ends the
/// iteration: a kernel's answer is input like any other.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<HEADER>()?;
        let [l0, l1, t0, t1] = *head;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = self.0.get(HEADER..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([t0, t1]) & TYPE_MASK, payload))
    }
}

impl<'a> Attributes<'a> {
    /// The payload of the first attribute of this type.
    pub fn find(self, kind: u16) -> Option<&'a [u8]> {
        for (k, payload) in self {
            if k == kind {
                return Some(payload);
            }
        }
        None
    }

    /// The attributes nested in the first of this type, none if it is absent.
    pub fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.find(kind).unwrap_or_default())
    }

    /// A number in network byte order, which nf_tables uses.
    pub fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(kind)?.try_into().ok()?))
    }

    /// A number in network byte order.
    pub fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.find(kind)?.try_into().ok()?))
    }

    /// One byte.
    pub fn byte(self, kind: u16) -> Option<u8> {
        self.find(kind)?.first().copied()
    }

    /// A text that ends at its first zero.
    pub fn text(self, kind: u16) -> Option<String> {
        let bytes = self.find(kind)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }
}

/// Builds attributes.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn header(&mut self, kind: u16, len: usize) {
        let len = u16::try_from(len + HEADER).unwrap_or(u16::MAX);
        let ([l0, l1], [k0, k1]) = (len.to_ne_bytes(), kind.to_ne_bytes());
        self.0.extend_from_slice(&[l0, l1, k0, k1]);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.header(kind, payload.len());
        self.0.extend_from_slice(payload);
        if !self.0.len().is_multiple_of(4) {
            self.0.resize(self.0.len().next_multiple_of(4), 0);
        }
        self
    }

    /// Adds a text with its closing zero.
    pub fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds a number in network byte order.
    pub fn be32(&mut self, kind: u16, number: u32) -> &mut Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Adds a number in network byte order.
    pub fn be64(&mut self, kind: u16, number: u64) -> &mut Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Adds attributes inside one.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.header(kind | NESTED, 0);
        fill(self);
        let len = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        self
    }
}
