use empire_actors::call::{Call, Request, Screened};

fn by_hand(request: Request) -> Call<Screened> {
    Call { request, stage: Screened { redactions: 0 } }
}

fn main() {}
