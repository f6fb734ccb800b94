// Ctrl-C in a call of the native code, and all other signals that Python handles.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "../core.h"

namespace treefilter {

namespace py = pybind11;

// Lives as long as a call. The calling thread lets Python handle signals every kInterval, for which it
// takes the GIL. If a handler raises, all threads of the call throw Interrupted at their next check.
// (Python handles signals in its main thread only; in others a check finds nothing.)
class PythonInterrupts final : public Interrupts {
 public:
  void check() override {
    if (stopped_.load(std::memory_order_relaxed)) throw Interrupted{};
    if (std::this_thread::get_id() != caller_) return;
    const auto now = Clock::now();
    if (now - last_ < kInterval) return;
    last_ = now;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() == 0) return;
    stopped_ = true;
    throw Interrupted{};
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kInterval{50};

  const std::thread::id caller_ = std::this_thread::get_id();
  Clock::time_point last_ = Clock::now();
  std::atomic<bool> stopped_{false};
};

// Makes Interrupted, when it leaves the native code, the exception that the handler has raised.
inline void translate_interrupts() {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Interrupted&) {
      // Python's error is set already, since check() has called the handler.
    }
  });
}

}  // namespace treefilter
