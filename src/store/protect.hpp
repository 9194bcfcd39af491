// Events cannot be changed: protect.cpp. What may remove them nevertheless.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::store {

/// While it lives, a DELETE of events is ours. Only around one statement of our own: no user code runs inside.
class RemovalScope {
public:
    RemovalScope();
    ~RemovalScope(); // also while an exception unwinds
    RemovalScope(const RemovalScope &) = delete;
    RemovalScope &operator=(const RemovalScope &) = delete;
};

} // namespace chronicle::store
