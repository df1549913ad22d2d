// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Protection keys (`pkey_alloc(2)`): which ones a program has allocated, and which one each
//! mapping has. The rights of each thread (PKRU) are in a register.
//!
//! The kernel allocates a key for itself the first time that memory is made executable and nothing else, and revokes
//! all access by that key from the thread that does so. The program cannot use this key (arch/x86/mm/pkeys.c).
//!
//! `smaps` shows the key of a mapping. Which keys are allocated is told only to the program itself. So with the module,
//! allocated keys are recognised by their use: a mapping has them, or a thread has rights that differ from the default.

use crust_hooks::Hooks;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Stage};
use crust_model::words::count;
use crust_model::{Error, Result};
use crust_proc::smaps::Vma;
use crust_sys::{ptrace, xstate};
use crust_tracee::frozen_process::FrozenProcess;
use serde::{Deserialize, Serialize};

use super::MemoryCapture;
use super::area::Area;
use super::aspect::{Moment, SpaceAspect};
use super::layout::Layout;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds};
use crate::memory::aspect::OfSpace;
use crate::task::tree;

/// `PKEY_DISABLE_ACCESS`, which in PKRU is the lower bit of each key.
const NO_ACCESS: u32 = 1;
/// The PKRU of a thread that has not changed it: no access by any key but 0 (`init_pkru_value`).
const UNTOUCHED: u32 = 0x5555_5554;
const KEYS: std::ops::Range<u8> = 1..16;

/// The protection keys of an address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionKeys {
    /// The keys that the program has allocated, as bits.
    pub allocated: u16,
    /// The key of execute-only memory.
    pub execute_only: Option<u8>,
    /// The mappings whose key is not the one that `mprotect` would give them, with their keys.
    pub areas: Vec<(Area, u8)>,
}

impl State for ProtectionKeys {
    const TAG: u16 = 0x0202;
    const NAME: &'static str = "protection keys";
    const SUPPORT: &'static str = "which are allocated, that of each mapping, that of execute-only memory; the module does not \
         tell of keys that no mapping has and no thread may use";

    fn describe(&self) -> String {
        let keys: Vec<_> = KEYS.filter(|key| self.has(*key)).collect();
        let only = match self.execute_only {
            Some(key) => format!(", {key} for what can only be executed"),
            None => String::new(),
        };
        format!(
            "{keys:?}{only}, {}",
            count(self.areas.len() as u64, "mapping", "mappings")
        )
    }
}

impl ProtectionKeys {
    fn has(&self, key: u8) -> bool {
        self.allocated & 1 << key != 0
    }

    /// Sorts mappings by their keys. `allocated` are the keys that the program has, if known; otherwise those that its
    /// threads use (`used`) count.
    fn of(vmas: &[Vma], allocated: Option<u16>, used: u16) -> Self {
        let mut keys = Self::default();
        for key in KEYS {
            let mut with = vmas.iter().filter(|vma| vma.key == key).peekable();
            let on_memory = with.peek().is_some();
            // The program could have such memory under a key of its own, but usually does not.
            let only_executed = on_memory && with.all(|vma| is_only_executed(&Area::of(vma)));
            let own = match allocated {
                Some(allocated) => allocated & 1 << key != 0,
                None if only_executed && keys.execute_only.is_none() => false,
                None => on_memory || used & 1 << key != 0,
            };
            if own {
                keys.allocated |= 1 << key;
            } else if only_executed {
                keys.execute_only = Some(key);
            }
        }
        for vma in vmas {
            let area = Area::of(vma);
            let usual = match keys.execute_only {
                Some(key) if is_only_executed(&area) => key,
                _ => 0,
            };
            if vma.key != usual {
                keys.areas.push((area, vma.key));
            }
        }
        keys
    }
}

fn is_only_executed(area: &Area) -> bool {
    area.protection() == libc::PROT_EXEC
}

/// Returns the keys by which the threads of a process have rights beyond the default.
fn used(process: &FrozenProcess, vmas: &[Vma]) -> Result<u16> {
    let mut used = 0;
    let on_memory = vmas.iter().any(|vma| vma.key != 0);
    for thread in &process.threads {
        let area = ptrace::xstate(thread.tid)
            .map_err(|errno| Error::task(thread.tid, "read the extended state", errno))?;
        let rights = xstate::pkru(&area).unwrap_or(UNTOUCHED);
        used |= rights_beyond_default(rights);
        if used == 0 && !on_memory {
            // This is a program without keys, so its other threads are not looked at.
            break;
        }
    }
    Ok(used)
}

/// Returns the keys whose bits in PKRU are not the default ones.
fn rights_beyond_default(pkru: u32) -> u16 {
    if pkru >> 2 == 0 {
        // Everything is allowed, which says nothing about any key.
        return 0;
    }
    KEYS.filter(|key| pkru >> (2 * key) & 3 != NO_ACCESS)
        .fold(0, |all, key| all | 1 << key)
}

impl Kind for ProtectionKeys {
    type Source = OfSpace;

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        if xstate::has_protection_keys() {
            return Ok(());
        }
        for (owner, _) in cx.image.all::<Self>() {
            cx.refusals.block(
                tree::number(cx.image, owner.task()),
                "protection-keys-missing",
                "protection keys",
                "this processor has none (PKU), or its kernel does not use them",
                "restore it where /proc/cpuinfo lists ospke",
            );
        }
        Ok(())
    }
}

impl SpaceAspect for ProtectionKeys {
    fn capture(
        vmas: &[Vma],
        found: &mut MemoryCapture<'_>,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>> {
        if !xstate::has_protection_keys() {
            return Ok(None);
        }
        let process = found.process;
        let told = hooks.self_only_memory(process)?.keys;
        let used = match told {
            Some(_) => 0,
            None => used(process, vmas)?,
        };
        let keys = Self::of(vmas, told, used);
        if keys == Self::default() {
            return Ok(None);
        }
        if told.is_none() && keys.allocated != 0 {
            found.refusals.lose(
                process.pid,
                "protection-keys-allocated",
                "protection keys",
                "the module does not tell which ones are allocated: those that no mapping has and no \
                 thread may use will be free",
                "have the program allocate them again after the restore if it needs that",
            );
        }
        Ok(Some(keys))
    }

    fn plan(&self, moment: Moment, layout: &mut Layout<'_>) {
        match moment {
            Moment::Empty => {
                self.allocate(layout);
                layout.keyed = self.areas.iter().map(|(area, _)| area.start).collect();
            }
            Moment::Mapped => {}
            Moment::Filled => {
                for (area, key) in &self.areas {
                    let call = Call::new(
                        area.what(&format!("protection key {key}")),
                        libc::SYS_pkey_mprotect,
                        [
                            area.start.into(),
                            area.length.into(),
                            area.protection().into(),
                            u64::from(*key).into(),
                        ],
                    );
                    layout.call(Stage::SealMemory, call);
                }
            }
        }
    }
}

impl ProtectionKeys {
    /// Allocates the keys. The kernel gives out the lowest free key, so all keys up to the highest wanted one are
    /// allocated, and the others given back.
    fn allocate(&self, layout: &mut Layout<'_>) {
        let stage = Stage::MapMemory;
        let only = self.execute_only.unwrap_or(0);
        let highest = KEYS
            .rev()
            .find(|key| self.has(*key) || *key == only)
            .unwrap_or(0);
        for key in 1..=highest {
            let args = [0.into(), u64::from(NO_ACCESS).into()];
            let call = Call::new("protection keys: allocate", libc::SYS_pkey_alloc, args);
            layout.call(stage, call.must_return(key.into()));
        }
        let free = |key: u8, layout: &mut Layout<'_>| {
            let args = [u64::from(key).into()];
            let call = Call::new("protection keys: give back", libc::SYS_pkey_free, args);
            layout.call(stage, call);
        };
        if only != 0 {
            // The kernel takes this key when it is the only free one.
            free(only, layout);
            let length = 4096;
            let call = Call::new(
                "protection keys: take that of execute-only memory",
                libc::SYS_mmap,
                [
                    0.into(),
                    length.into(),
                    libc::PROT_EXEC.into(),
                    (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(),
                    Arg::from(-1),
                    0.into(),
                ],
            );
            let page = layout.call(stage, call);
            let args = [page.into(), length.into()];
            let call = Call::new("protection keys: unmap", libc::SYS_munmap, args);
            layout.call(stage, call);
        }
        for key in (1..=highest).filter(|key| !self.has(*key) && *key != only) {
            free(key, layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use crust_proc::smaps::vm_flag as t;

    use super::*;

    fn vma(page: u64, vm_flags: u64, key: u8) -> Vma {
        Vma {
            range: page << 12..(page + 1) << 12,
            vm_flags,
            key,
            ..Vma::default()
        }
    }

    #[test]
    fn the_key_of_the_kernel_is_told_from_those_of_the_program() {
        let vmas = [
            vma(1, t::READ, 0),
            vma(2, t::EXEC, 3),
            vma(3, t::READ | t::WRITE, 1),
            vma(4, t::EXEC, 1),
            vma(5, t::EXEC, 0),
        ];
        let starts = |keys: &ProtectionKeys| -> Vec<_> {
            let of = |(area, key): &(Area, u8)| (area.start >> 12, *key);
            keys.areas.iter().map(of).collect()
        };
        let told = ProtectionKeys::of(&vmas, Some(0b10_0010), 0);
        assert_eq!((told.allocated, told.execute_only), (0b10_0010, Some(3)));
        assert_eq!(starts(&told), [(3, 1), (4, 1), (5, 0)]);
        // A key that nothing uses is not seen.
        let seen = ProtectionKeys::of(&vmas, None, 0);
        assert_eq!((seen.allocated, seen.execute_only), (0b10, Some(3)));
        assert_eq!(starts(&seen), starts(&told));
        let own = ProtectionKeys::of(&vmas, Some(0b1010), 0);
        assert_eq!((own.allocated, own.execute_only), (0b1010, None));
        assert_eq!(starts(&own), [(2, 3), (3, 1), (4, 1)]);
    }

    #[test]
    fn rights_tell_of_keys() {
        assert_eq!(rights_beyond_default(UNTOUCHED), 0);
        assert_eq!(rights_beyond_default(UNTOUCHED & !0b1100), 1 << 1);
        assert_eq!(rights_beyond_default(0x5555_5558), 1 << 1);
        assert_eq!(rights_beyond_default(0), 0);
    }
}
