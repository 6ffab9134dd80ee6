use empire_actors::call::{Call, Cleared, Draft, Funded, Request, Screened};
use empire_actors::gates::budget::Hold;
use empire_actors::gates::rate::Permit;

fn screen(request: Request) -> Call<Screened> {
    Call::<Draft>::screened(request, Default::default())
}

fn fund(call: Call<Screened>, hold: Hold) -> Call<Funded> {
    call.funded(hold)
}

fn clear(call: Call<Funded>, permit: Permit) -> Call<Cleared> {
    call.cleared(permit)
}

fn main() {}
