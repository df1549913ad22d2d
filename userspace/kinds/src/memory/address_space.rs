// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state that the kernel keeps for an address space besides its mappings (`struct mm_struct`):
//! the program it runs; where code, data, heap, stack, arguments and environment are; the auxiliary
//! vector; and the settings for huge pages and for the merging of equal pages.
//!
//! `/proc/PID/{exe,cmdline,environ,auxv}`, `[heap]`, `[stack]` and `brk()` derive from this state. All of it is set by
//! one call, `prctl(PR_SET_MM, PR_SET_MM_MAP)`.

use crust_hooks::Hooks;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, Stage};
use crust_model::{Error, Result, index};
use crust_proc::smaps::Vma;
use crust_proc::{Fields, Stat};
use crust_sys::uapi::process_state;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::program::Program;
use super::{MemoryCapture, capture, huge_pages, map_count, plan};
use crate::capture::Capture;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds, OfTree, TreeKind};
use crate::plan_context::PlanCx;
use crate::task::settings::PR_THP_DISABLE_EXCEPT_ADVISED;
use crate::task::tree;

/// The flag of `PR_SET_THP_DISABLE` in a byte.
const EXCEPT_ADVISED: u8 = PR_THP_DISABLE_EXCEPT_ADVISED.to_le_bytes()[0];

/// An address space, without its mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpace {
    /// The addresses in `struct prctl_mm_map`, in its order: start and end of code, start and end of
    /// data, start of the heap, the break, the start of the stack, start and end of the arguments,
    /// start and end of the environment.
    pub bounds: [u64; 11],
    /// The auxiliary vector, as in `/proc/PID/auxv`.
    pub auxv: Vec<u8>,
    /// The program that the process runs.
    pub program: Program,
    /// The setting of `PR_SET_THP_DISABLE`: its flags plus one, or 0.
    pub thp_disable: u8,
    /// Whether `PR_SET_MEMORY_MERGE` is set.
    pub merge_all: bool,
}

impl State for AddressSpace {
    const TAG: u16 = 0x0200;
    const VERSION: u16 = 2;
    const NAME: &'static str = "address space";
    const SUPPORT: &'static str =
        "Program, arguments, environment, auxiliary vector, heap and stack stay what they were.";

    fn describe(&self) -> String {
        let program = self.program.describe();
        format!("{program}, heap {:x}-{:x}", self.bounds[4], self.bounds[5])
    }
}

impl Kind for AddressSpace {
    type Source = OfTree;

    fn conflicts(kinds: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        let image = cx.image;
        for (owner, space) in image.all::<Self>() {
            let pid = tree::number(image, owner.task());
            space.program.conflicts(pid, &mut cx.refusals);
        }
        map_count::conflicts(kinds, cx)?;
        huge_pages::conflicts(kinds, cx)
    }
}

/// It answers for all memory but the contents.
impl TreeKind for AddressSpace {
    fn capture(kinds: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        capture::capture(kinds, cx)
    }

    fn plan(kinds: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        plan::plan(kinds, cx)
    }
}

impl AddressSpace {
    /// Reads the state of an address space; returns `None` if its program cannot be found again.
    ///
    /// # Errors
    ///
    /// Returns errors of reading `/proc`, and those of [`Hooks::process`].
    pub fn of(found: &mut MemoryCapture<'_>, hooks: &dyn Hooks) -> Result<Option<Self>> {
        let process = found.process;
        let task = process.pid;
        let Some(program) = Program::capture(found)? else {
            return Ok(None);
        };
        let mm = hooks.process(process)?;
        let says = |bit| mm.state & bit != 0;
        Ok(Some(Self {
            bounds: bounds(
                &crust_proc::read(&process.proc, process.pid, "stat")?,
                mm.brk,
            )
            .ok_or_else(|| Error::malformed(format!("/proc/{task}/stat"), "too short"))?,
            auxv: process.auxv.clone(),
            program,
            thp_disable: match (
                says(process_state::THP_DISABLE),
                says(process_state::THP_DISABLE_EXCEPT_ADVISED),
            ) {
                (_, true) => 1 + EXCEPT_ADVISED,
                (true, false) => 1,
                (false, false) => 0,
            },
            merge_all: merges_all(found)?,
        }))
    }

    /// Prepares what must precede the first page: the kind of pages allowed, and the program if other processes have
    /// it.
    ///
    /// # Errors
    ///
    /// Returns an error if the image does not have the program.
    pub fn prepare(&self, layout: &mut Layout<'_>) -> Result<()> {
        self.program.prepare(layout)?;
        if let Some(flags) = self.thp_disable.checked_sub(1) {
            let call = Call::new(
                "no transparent huge pages",
                libc::SYS_prctl,
                [
                    libc::PR_SET_THP_DISABLE.into(),
                    1.into(),
                    u64::from(flags).into(),
                    0.into(),
                    0.into(),
                ],
            );
            layout.call(Stage::MapMemory, call);
        }
        Ok(())
    }

    /// Emits the calls that set the state once all mappings are there.
    pub fn settle(&self, layout: &mut Layout<'_>) {
        let stage = Stage::SealMemory;
        let (number, opened) = self.program.open(layout);
        let map = self.prctl_mm_map(number);
        let length = map.bytes.len() as u64;
        layout.call(
            stage,
            Call::new(
                "bounds, program and auxiliary vector",
                libc::SYS_prctl,
                [
                    libc::PR_SET_MM.into(),
                    libc::PR_SET_MM_MAP.into(),
                    Arg::Data(map),
                    length.into(),
                    0.into(),
                ],
            ),
        );
        for open in opened {
            layout.call(
                stage,
                Call::new("close the program", libc::SYS_close, [open]),
            );
        }
        if self.merge_all {
            let call = Call::new(
                "merge equal pages",
                libc::SYS_prctl,
                [
                    libc::PR_SET_MEMORY_MERGE.into(),
                    1.into(),
                    0.into(),
                    0.into(),
                    0.into(),
                ],
            );
            layout.call(stage, call);
        }
    }

    /// Builds `struct prctl_mm_map`: the bounds, a pointer to the auxiliary vector, its length, the
    /// descriptor of the program.
    fn prctl_mm_map(&self, exe: i32) -> Data {
        let mut map = Data::words(&self.bounds);
        let auxv = map.bytes.len();
        map.bytes.extend([0; 8]);
        let length = index::number(self.auxv.len());
        map.bytes.extend(length.to_ne_bytes());
        map.bytes.extend(exe.to_ne_bytes());
        map.pointer(auxv, Data::new(self.auxv.clone()))
    }
}

/// Returns the bounds of `struct prctl_mm_map`, from `/proc/PID/stat` and the break.
fn bounds(stat: &[u8], brk: u64) -> Option<[u64; 11]> {
    let stat = Stat::parse(stat)?;
    let field = |number| Some(stat.field(number)).filter(|address| *address != 0);
    let start_brk = field(47)?;
    Some([
        field(26)?,
        field(27)?,
        field(45)?,
        field(46)?,
        start_brk,
        brk,
        field(28)?,
        field(48)?,
        field(49)?,
        field(50)?,
        field(51)?,
    ])
}

/// Returns whether `PR_SET_MEMORY_MERGE` is set; kernels that do not show it do not have it either.
fn merges_all(found: &MemoryCapture<'_>) -> Result<bool> {
    let process = found.process;
    match crust_proc::read_text(&process.proc, process.pid, "ksm_stat") {
        Ok(text) => Ok(Fields::new(text).get("ksm_merge_any") == Some("yes")),
        Err(Error::Task {
            errno: Errno::ENOENT,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Notes the state of an address space that no kernel shows, where it could matter.
pub fn untold(vmas: &[Vma], found: &mut MemoryCapture<'_>) {
    use crust_proc::smaps::vm_flag::{DONT_EXPAND, LOCKED, PFN_MAP};
    let mut plain = vmas
        .iter()
        .filter(|vma| !vma.is_any(DONT_EXPAND | PFN_MAP))
        .peekable();
    // If a single mapping is not locked, it was not `mlockall`.
    if plain.peek().is_some() && plain.all(|vma| vma.is(LOCKED)) {
        found.refusals.lose(
            found.process.pid,
            "mlockall",
            "mlockall",
            "all memory is locked, but no kernel interface tells whether memory to come is to be locked too \
             (MCL_FUTURE): it will not be",
            "have the program call mlockall again after the restore if it needs that",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_in_the_order_of_the_structure() {
        let mut fields: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        fields[0] = "S".into();
        let stat = format!("7 (a) b (c) {}\n", fields.join(" "));
        assert_eq!(
            bounds(stat.as_bytes(), 1000),
            Some([26, 27, 45, 46, 47, 1000, 28, 48, 49, 50, 51])
        );
        assert_eq!(bounds(b"7 (a) S 1 2", 0), None);
    }

    #[test]
    fn the_structure_has_its_size() {
        let space = AddressSpace {
            auxv: vec![1; 32],
            ..AddressSpace::default()
        };
        let map = space.prctl_mm_map(7);
        assert_eq!(map.bytes.len(), 104);
        assert_eq!(map.bytes[96..], [32, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(map.pointers, [(88, Data::new(vec![1; 32]))]);
    }
}
