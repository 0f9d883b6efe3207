//! The registers through which the expressions of a rule pass values: 16 of 4
//! bytes each, which the kernel names in two ways (`enum nft_registers`).

/// The register of the verdict.
pub(super) const VERDICT: u32 = 0;
/// `NFT_REG_1`, the first of those of 16 bytes.
const REG_1: u32 = 1;
/// `NFT_REG32_00`, the first of those of 4 bytes.
const REG32_00: u32 = 8;

/// The number of the register that begins at this slot of 4 bytes, by the name
/// that the kernel prefers: a slot at which a wide register begins has its name.
pub(super) fn register_of(slot: usize) -> u32 {
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    if slot % 4 == 0 {
        slot / 4 + REG_1
    } else {
        slot + REG32_00
    }
}

/// The slot at which the register of this number begins; `None` for the
/// verdict's.
pub(super) fn slot_of(register: u32) -> Option<usize> {
    let slot = match register {
        VERDICT => return None,
        1..=4 => (register - REG_1) * 4,
        _ => register.checked_sub(REG32_00)?,
    };
    usize::try_from(slot).ok()
}
